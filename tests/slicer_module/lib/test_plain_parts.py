"""Votes, keys, folders and sentences: the parts that need no process."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from GeminiPropagateLib.jobs import RunLayout, unique_key
from GeminiPropagateLib.sentences import duration, in_panel_words
from GeminiPropagateLib.voting import similarity_weight, vote


def brute_force(maps: list[np.ndarray], weights: list[np.ndarray]) -> np.ndarray:
    """Count the weight of every label in every voxel; the earliest map's label wins a tie."""
    winner = np.zeros_like(maps[0])
    for place in np.ndindex(maps[0].shape):
        support: dict[int, float] = {}
        for label_map, weight in zip(maps, weights, strict=True):
            label = int(label_map[place])
            support[label] = support.get(label, 0.0) + float(weight[place])
        winner[place] = max(support, key=lambda label: support[label])
    return winner


def test_votes_are_counted_as_by_hand() -> None:
    rng = np.random.default_rng(0)
    maps = [rng.choice([0, 5, 300], (4, 5, 6)).astype(np.int16) for _ in range(5)]
    weights = [rng.random((4, 5, 6)) for _ in maps]
    for given in (weights, [np.ones((4, 5, 6))] * 5):
        decided = vote(maps, given)
        np.testing.assert_array_equal(decided.labels, brute_force(maps, given))
        assert decided.labels.dtype == np.int16
    np.testing.assert_array_equal(vote(maps).labels, brute_force(maps, [np.ones((4, 5, 6))] * 5))


def test_a_well_matched_atlas_outvotes_two_poor_ones_only_when_votes_are_weighed() -> None:
    good, poor = np.full((1, 1, 2), 7), np.full((1, 1, 2), 3)
    similarity = [np.full((1, 1, 2), value) for value in (0.9, 0.3, 0.3)]
    weights = [similarity_weight(values) for values in similarity]
    assert (vote([good, poor, poor]).labels == 3).all()
    decided = vote([good, poor, poor], weights)
    assert (decided.labels == 7).all()
    np.testing.assert_allclose(decided.agreement, 0.81 / (0.81 + 2 * 0.09), rtol=1e-6)


def test_agreement_is_one_where_all_agree_and_the_earlier_map_wins_a_tie() -> None:
    first, second = np.array([1, 2, 0]), np.array([1, 3, 0])
    decided = vote([first, second])
    np.testing.assert_array_equal(decided.labels, first)
    np.testing.assert_array_equal(decided.agreement, np.float32([1.0, 0.5, 1.0]))
    nobody = vote([first, second], [np.zeros(3), np.zeros(3)])
    np.testing.assert_array_equal(nobody.labels, first)


def test_similarity_that_is_unknown_or_negative_weighs_least() -> None:
    weights = similarity_weight(np.array([np.nan, -1.0, 0.0, 0.5, 1.0, np.inf]))
    np.testing.assert_allclose(weights, [1e-3, 1e-3, 1e-3, 0.25, 1.0, 1e-3])


@pytest.mark.parametrize(
    ("maps", "weights"),
    [
        ([], None),
        ([np.zeros(3, int), np.zeros(4, int)], None),
        ([np.zeros(3, int)], [np.ones(3), np.ones(3)]),
        ([np.zeros(3, int)], [-np.ones(3)]),
        ([np.zeros(3, int)], [np.full(3, np.nan)]),
    ],
)
def test_votes_that_cannot_be_counted_are_refused(maps: list, weights: list | None) -> None:
    with pytest.raises(ValueError, match=r"label map|weight"):
        vote(maps, weights)


def test_keys_are_safe_in_file_names_and_differ_whatever_the_case() -> None:
    taken: set[str] = set()
    names = ["MR Head/1", "mr head:1", "../../etc", "", "Ärzte", "MR_Head_1"]
    keys = [unique_key(name, taken) for name in names]
    assert keys == ["MR_Head_1", "mr_head_1-2", "etc", "scan", "rzte", "MR_Head_1-3"]


def test_a_temporary_run_leaves_nothing_and_a_chosen_folder_stays(tmp_path: Path) -> None:
    layout = RunLayout.temporary()
    layout.input_path("atlas", "a").write_text("x")
    layout.remove()
    assert not layout.root.exists()
    chosen = RunLayout(tmp_path / "mine")
    chosen.remove()
    assert chosen.results.is_dir()


def test_options_of_the_command_line_become_names_in_the_panel() -> None:
    sentence = "The memory is full; to make it fit, use a larger --spacing or --device cpu."
    assert in_panel_words(sentence) == (
        'The memory is full; to make it fit, use a larger "Grid spacing" or the device "cpu".'
    )


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.2, "1 s"), (59, "59 s"), (61, "1 min"), (7800, "2 h 10 min")]
)
def test_times_are_written_for_people(seconds: float, text: str) -> None:
    assert duration(seconds) == text
