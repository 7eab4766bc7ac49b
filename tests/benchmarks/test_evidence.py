"""The experiments behind docs/evidence.md: each runs, and what it measures is what it says."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmarks.evidence import features, labels, training
from benchmarks.evidence.__main__ import EXPERIMENTS, main
from benchmarks.evidence.data import Data, load
from benchmarks.evidence.features import stage_shares, true_positives
from benchmarks.evidence.fields import LatePositive, OneWay
from benchmarks.evidence.scores import deformation, feature_health
from benchmarks.evidence.tables import closures, correlation, read_rows, table, with_gains
from benchmarks.evidence.training import SMOKE, Bench, fine_tuned, label_settings, pretrain
from napari_gemini.learning.cohort import Cohort
from napari_gemini.learning.objectives.base import PairBatch
from napari_gemini.learning.objectives.gemini_semi import gemini_loss
from napari_gemini.networks.gemini import GeminiNetwork

OBJECTIVES = ["--objectives", "scratch", "gvsl"]


@pytest.fixture(scope="module")
def data() -> Data:
    return load("phantom", None, smoke=True)


@pytest.fixture(scope="module")
def bench(data: Data) -> Bench:
    return Bench(data, SMOKE)


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_runs_and_goes_on_where_it_was(
    experiment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(features, "VOXELS", 30)
    monkeypatch.setattr(labels, "WIDTHS", (4, 8))
    out = tmp_path / "rows.jsonl"
    command = [experiment, "--smoke", "--out", str(out), "--cache", str(tmp_path / "cache")]
    if experiment in ("few-shot", "quarter", "tuning-course", "clusters", "depth", "pairing"):
        command += OBJECTIVES
    if experiment == "pretraining-share":
        command += ["--objectives", "gvsl"]
    assert main(command) == 0
    rows = read_rows(out)
    settings = [row["setting"] for row in rows]
    assert settings
    assert len(set(settings)) == len(settings)
    numbers = [v for row in rows for v in row.values() if isinstance(v, float)]
    assert np.isfinite(numbers).all()
    lost = rows.pop()
    out.write_text("".join(json.dumps(row) + "\n" for row in rows))
    main(command)
    again = read_rows(out)
    assert [row["setting"] for row in again] == [*settings[:-1], lost["setting"]]
    fixed = [k for k in lost if k != "cpu_seconds"]
    assert {k: again[-1][k] for k in fixed} == {k: lost[k] for k in fixed}, "not repeatable"


def test_tables_name_every_setting(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "rows.jsonl"
    for experiment in ("repeats", "curve"):
        main([experiment, "--smoke", "--out", str(out)])
    capsys.readouterr()
    main(["tables", "--out", str(out)])
    text = capsys.readouterr().out
    assert "run 1" in text
    assert "correlation over test scans" in text
    assert "| 4 |" in text, "the last step of the curve"


def test_table_gives_mean_and_spread_over_seeds() -> None:
    rows = [
        {"setting": "a", "seed": s, "dice": d, "dice_cases": [d]} for s, d in ((0, 0.5), (1, 0.7))
    ]
    assert table(rows)[-1] == "| a | 2 | 0.600 ± 0.141 |"


def test_correlation_joins_the_same_scan_of_both_runs() -> None:
    rows = [
        {"setting": "run 1", "dice_cases": [0.1, 0.5, 0.9]},
        {"setting": "run 2", "dice_cases": [0.2, 0.6, 1.0]},
    ]
    assert correlation(rows) == pytest.approx(1)
    rows[1]["dice_cases"] = [1.0, 0.6, 0.2]
    assert correlation(rows) == pytest.approx(-1)


def test_shares_of_the_pool_are_nested_and_leave_the_test_alone(data: Data) -> None:
    small, large = data.part(0.25, 1), data.part(0.5, 1)
    assert len(small) == 2
    assert set(small) < set(large) <= set(data.pool)
    assert not set(data.pool) & set(data.test)


def test_trainings_see_scans_of_the_pool_and_only_the_labels_they_may(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Cohort] = []

    def run(network: GeminiNetwork, settings: Any, cohort: Cohort, *_: Any) -> GeminiNetwork:
        seen.append(cohort)
        return network

    monkeypatch.setattr(training, "run", run)
    weights = pretrain(bench, "gvsl")
    fine_tuned(bench, weights, bench.five)
    assert [cohort.ids for cohort in seen] == [bench.data.pool, bench.five]
    assert [len(cohort.labels) for cohort in seen] == [0, 5]


def test_fine_tuning_starts_from_the_backbone_and_from_one_head_for_all(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "run", lambda network, *_: network)
    weights = {k: v + 1 for k, v in bench.fresh().state_dict().items()}
    network, fresh = fine_tuned(bench, weights, bench.five), bench.fresh()
    for name, value in network.state_dict().items():
        expected = weights if name.startswith("backbone.") else fresh.state_dict()
        torch.testing.assert_close(value, expected[name])


def objective(bench: Bench, kind: type, steps: int = 4) -> Any:
    settings = label_settings(bench, "gemini-semi", steps, {})
    return kind(bench.fresh(settings.network), settings, bench.data.cohort(bench.five))


def test_both_directions_are_the_sum_of_one_way_and_back(bench: Bench) -> None:
    made = objective(bench, OneWay)
    first, second = bench.data.batch(bench.data.pool[:4])[0].chunk(2)
    with torch.no_grad():
        torch.nn.init.normal_(made.network.deformer.flow.weight, std=0.1)
        both = gemini_loss(made.network, PairBatch(first, second), made.settings.weights, 9)
        ways = made.one_way(first, second)["loss"] + made.one_way(second, first)["loss"]
    torch.testing.assert_close(both["loss"], ways)


def test_late_positive_pairs_count_from_the_middle_on(bench: Bench) -> None:
    made = objective(bench, LatePositive)

    def similarity(step: int) -> float:
        updates = made.updates(step, torch.Generator().manual_seed(0))
        terms = next(updates).terms()
        list(updates)
        return terms["gss"].item()

    values = [similarity(step) for step in range(4)]
    # The loss counts the red path with 0.1 on top.
    assert values[1] == pytest.approx(values[0])
    assert values[2] == pytest.approx(1.1 * values[0])
    assert values[3] == pytest.approx(1.1 * values[0])


SHIFT = 3


class Shifting:
    """Stands in for a network: features are of no use, the field is a known shift along rows."""

    def features(self, image: Tensor) -> Tensor:
        return torch.ones_like(image)

    def displacement(self, moving: Tensor, fixed: Tensor) -> Tensor:
        field = torch.zeros(1, 2, *moving.shape[2:])
        field[:, 0] = SHIFT
        return field


def shifted_data() -> Data:
    """Two test scans, the second one three rows up; only the pair second to first is right."""
    labels = np.zeros((16, 16), np.int16)
    labels[6:10, 4:12] = 1
    moved = np.roll(labels, SHIFT, axis=0)
    images = {name: np.zeros((16, 16), np.float32) for name in ("a", "b")}
    return Data("made", images, {"a": labels, "b": moved}, ["a"], ["a", "b"], [], 2)


def test_true_positives_follow_the_field(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.evidence.features.pairs_of_test_scans", lambda _: [("b", "a")])
    found = true_positives(cast(GeminiNetwork, Shifting()), shifted_data())
    # Features that are all alike pair every voxel with the first one, which is background.
    assert found == {"similarity": 0, "correspondence": 100, "place": 25}


def test_deformation_is_scored_where_the_field_points() -> None:
    found = deformation(cast(GeminiNetwork, Shifting()), shifted_data())
    # One of the two ordered pairs is carried onto itself, the other six rows away.
    assert found == {"deformation_dice": 0.5, "unmoved_dice": 0.25, "fold_percent": 0}


def test_health_tells_collapsed_features_from_rich_ones(data: Data) -> None:
    generator = torch.Generator().manual_seed(0)
    rich = torch.randn(2, 8, *data.shape, generator=generator)
    poor = torch.ones_like(rich) + 0.01 * rich[:, :1]
    scores = [
        feature_health(
            cast(GeminiNetwork, SimpleNamespace(features=lambda _, f=f: f)), data, data.test[:2]
        )
        for f in (rich, poor)
    ]
    assert scores[0]["rank"] == pytest.approx(8, rel=0.02)
    assert abs(scores[0]["cosine"]) < 0.05
    assert scores[1]["rank"] == pytest.approx(1, rel=0.02)
    assert scores[1]["cosine"] > 0.99


def test_flattened_stages_leave_constant_features_alone(bench: Bench) -> None:
    network, images = bench.fresh(), bench.data.batch(bench.data.test)[0]
    before = network.features(images)
    shares = stage_shares(network, images)
    assert list(shares) == [f"stage {level}" for level in (1, 2, 3, 4)]
    assert min(shares.values()) > 1
    # A stage that ignores what comes from below owes it nothing.
    with torch.no_grad():
        network.backbone.decoder[0][0][0].weight[:, 8 * SMOKE.width :] = 0
    again = stage_shares(network, images)
    assert again["stage 1"] == pytest.approx(0, abs=1e-3)
    assert again["stage 4"] > 1
    assert not torch.equal(network.features(images), before)


def test_real_scans_lie_on_their_grid() -> None:
    folder = Path(__file__).resolve().parents[3] / "shared/data"
    if not (folder / "heart2d").is_dir():
        pytest.skip("needs the heart pictures in ../shared/data/heart2d")
    hearts = load("hearts", folder, smoke=True)
    assert hearts.shape == (48, 48)
    assert hearts.classes == 3
    assert set(hearts.five[2]) <= set(hearts.pool)
    for case in hearts.pool:
        labels, image = hearts.labels[case], hearts.images[case]
        cavity, wall = image[labels == 2].mean(), image[labels == 1].mean()
        assert cavity > wall, "blood is brighter than muscle where labels fit the picture"


def test_sizes_are_equal_for_all_starts(bench: Bench) -> None:
    wide = dataclasses.replace(bench, sizes=dataclasses.replace(SMOKE, pretrain=7, scans=6))
    pairs = training.pretraining_settings(wide, "gemini-mip", {})
    scans = training.pretraining_settings(wide, "optiml", {})
    assert (pairs.steps, scans.steps) == (7, 7)
    assert 2 * pairs.pairs_per_step == scans.pairs_per_step == 6


def test_gains_are_over_scratch_of_the_same_seed() -> None:
    rows = [
        {"seed": 0, "setting": "scratch", "dice": 0.5, "dice_pool": 0.4},
        {"seed": 1, "setting": "scratch", "dice": 0.7},
        {"seed": 0, "setting": "gvsl", "dice": 0.75, "dice_pool": 0.3},
        {"seed": 1, "setting": "gvsl", "dice": 0.6, "dice_pool": 0.3},
        {"seed": 2, "setting": "gvsl", "dice": 0.6},
    ]
    gained = with_gains(rows)
    assert [row.get("dice gain") for row in gained] == [None, None, 0.25, pytest.approx(-0.1), None]
    assert gained[2]["dice_pool gain"] == pytest.approx(-0.1)
    assert "dice_pool gain" not in gained[3]


def test_closure_is_the_share_of_the_gap_with_the_same_seed() -> None:
    def row(seed: int, setting: str, cases: list[float]) -> dict[str, object]:
        return {"seed": seed, "setting": setting, "held_back_cases": cases}

    rows = [
        row(0, "five labels", [0.5, 0.6]),
        row(0, "gemini-semi", [0.6, 0.7]),
        row(0, "all labels", [0.9, 1.0]),
        row(1, "five labels", [0.5, 0.6]),
    ]
    assert closures(rows) == [
        "seed 0: gemini-semi gains 0.1000 (0.1000 to 0.1000) and closes 25% (25% to 25%) of the gap"
    ]


def test_steps_of_the_command_are_those_of_the_runs_and_of_the_rows(tmp_path: Path) -> None:
    out = tmp_path / "rows.jsonl"
    command = ["quarter", "--smoke", "--settings", "scratch", "--out", str(out), "--tune"]
    main([*command, "1"])
    main([*command, "3"])
    main([*command, "3"])
    rows = read_rows(out)
    assert [(row["pretrain"], row["tune"]) for row in rows] == [(2, 1), (2, 3)]


def test_the_rate_of_the_command_is_that_of_the_pretraining(tmp_path: Path) -> None:
    out = tmp_path / "rows.jsonl"
    command = ["pairing", "--smoke", "--settings", "gemini-mip", "--out", str(out)]
    command += ["--cache", str(tmp_path)]
    for rate in ("0.01", "0.02"):
        main([*command, "--pretrain-rate", rate])
    assert [row["pretrain_rate"] for row in read_rows(out)] == [0.01, 0.02]
    assert len(list(tmp_path.glob("gemini-mip-*.pt"))) == 2
