"""The loop and its checkpoints: exact resume, kills, damage."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from napari_gemini.errors import StudyError
from napari_gemini.learning.checkpoints import (
    intact_checkpoints,
    load_model,
    load_training_state,
)
from napari_gemini.learning.tensor_files import save_tensors
from napari_gemini.learning.trainer import learning_rate
from napari_gemini.learning.validation import HeldBackDice, mean_dice, spread
from napari_gemini.networks.gemini import build_network
from napari_gemini.settings import NetworkSettings
from tests.learning.helpers import StopAfter, make_trainer, tiny_cohort, tiny_settings


def _same_weights(first: Path, second: Path) -> bool:
    weights = [load_training_state(next(intact_checkpoints(run)))[0] for run in (first, second)]
    return all(torch.equal(weights[0][k], weights[1][k]) for k in weights[0])


@pytest.mark.parametrize(
    "network",
    [
        NetworkSettings(dimension=2, base_width=4, classes=2),
        NetworkSettings(dimension=3, base_width=4, classes=2, field_stride=2),
        NetworkSettings(dimension=2, base_width=4, classes=2, backbone="swin-unetr"),
        NetworkSettings(dimension=3, base_width=4, classes=2, backbone="swin-unetr"),
    ],
    ids=["unet-2d", "unet-3d", "swin-2d", "swin-3d"],
)
def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(
    tmp_path: Path, network: NetworkSettings
) -> None:
    # The 3D transformer costs seconds a pass, so it only segments here.
    slow = network.backbone != "unet" and network.dimension == 3
    objective = "supervised" if slow else "gemini-semi"
    settings = tiny_settings(network=network, steps=2, objective=objective)
    make_trainer(tmp_path / "whole", settings, validator=None).fit()
    stopped = make_trainer(tmp_path / "parts", settings, StopAfter(checks=1), validator=None).fit()
    assert stopped.stopped
    assert stopped.step == 1
    torch.manual_seed(999)  # whatever another process would have drawn
    second = make_trainer(tmp_path / "parts", settings, validator=None)
    assert second.resume()
    assert second.step == 1
    assert not second.fit().stopped
    assert _same_weights(tmp_path / "whole", tmp_path / "parts")


def test_bfloat16_runs_resume_exactly_too(tmp_path: Path) -> None:
    settings = tiny_settings(steps=4)
    make_trainer(tmp_path / "whole", settings, autocast=torch.bfloat16).fit()
    make_trainer(tmp_path / "parts", settings, StopAfter(checks=2), autocast=torch.bfloat16).fit()
    second = make_trainer(tmp_path / "parts", settings, autocast=torch.bfloat16)
    second.resume()
    second.fit()
    assert _same_weights(tmp_path / "whole", tmp_path / "parts")


def test_other_conditions_are_said_on_resume(tmp_path: Path) -> None:
    make_trainer(tmp_path, tiny_settings(steps=2)).fit()
    reporter = StopAfter()
    make_trainer(tmp_path, tiny_settings(steps=2), reporter, autocast=torch.bfloat16).resume()
    assert any("bit for bit" in message for message in reporter.logs)


def test_training_lowers_the_losses_and_reports_them(tmp_path: Path) -> None:
    reporter = StopAfter()
    settings = tiny_settings(steps=60, learning_rate=3e-3)
    result = make_trainer(tmp_path, settings, reporter).fit()
    assert result.nonfinite == 0
    names = {"gvs", "gss", "smooth", "segmentation", "loss_correspondence", "loss_segmentation"}
    assert set(reporter.values[0]) == names
    assert reporter.values[-1]["segmentation"] < 0.6 * reporter.values[0]["segmentation"]
    assert {name for name, _ in reporter.events} == {"validation", "checkpoint"}


@pytest.mark.skipif(os.name == "nt", reason="Windows has other permissions")
def test_others_may_read_what_a_run_writes(tmp_path: Path) -> None:
    """A study is often in a shared folder; safetensors alone would write for the owner only."""
    tensors = {"a": torch.arange(3.0)}
    before = os.umask(0o022)
    try:
        save_tensors(tensors, tmp_path / "a.safetensors")
        save_tensors(tensors, tmp_path / "a.safetensors")
    finally:
        os.umask(before)
    assert (tmp_path / "a.safetensors").stat().st_mode & 0o777 == 0o644
    assert torch.equal(load_file(tmp_path / "a.safetensors")["a"], tensors["a"])


def test_only_two_generations_and_the_best_are_kept(tmp_path: Path) -> None:
    make_trainer(tmp_path, tiny_settings(steps=12, checkpoint_every=2, validate_every=2)).fit()
    kept = sorted(p.name for p in (tmp_path / "checkpoints").iterdir())
    best = json.loads((tmp_path / "best.json").read_text())["checkpoint"]
    assert set(kept) == {"0000010", "0000012", best}
    assert json.loads((tmp_path / "last.json").read_text()) == {"checkpoint": "0000012"}


@pytest.mark.parametrize("damaged", ["weights.safetensors", "state.safetensors", "sha256.json"])
def test_a_broken_checkpoint_falls_back_to_the_one_before(tmp_path: Path, damaged: str) -> None:
    make_trainer(tmp_path, tiny_settings(steps=8, checkpoint_every=4, validate_every=8)).fit()
    broken = tmp_path / "checkpoints" / "0000008" / damaged
    broken.write_bytes(broken.read_bytes()[:-10])
    trainer = make_trainer(tmp_path, tiny_settings(steps=8))
    assert trainer.resume()
    assert trainer.step == 4


KILLED = textwrap.dedent(
    """
    import sys, torch
    from pathlib import Path
    sys.path.insert(0, {root!r})
    torch.set_num_threads(1)
    from tests.learning.helpers import make_trainer, tiny_settings
    trainer = make_trainer(Path({run!r}), tiny_settings(steps=100000, checkpoint_every=1))
    trainer.resume()
    print("ready", trainer.step, flush=True)
    trainer.fit()
    """
)


def test_sigkill_at_random_moments_never_corrupts_a_checkpoint(tmp_path: Path) -> None:
    """Checkpoints are written at every step, so most kills hit a write."""
    root = str(Path(__file__).parents[2])
    script = KILLED.format(root=root, run=str(tmp_path))
    reached = 0
    for moment in (0.05, 0.37, 0.61):
        process = subprocess.Popen(
            [sys.executable, "-c", script],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        assert process.stdout is not None
        start = int(process.stdout.readline().split()[1])
        assert start >= reached
        time.sleep(0.5 + moment)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        folder = next(intact_checkpoints(tmp_path))
        reached = int(folder.name)
        assert reached > start
        newest = max(int(p.name) for p in (tmp_path / "checkpoints").iterdir() if p.name.isdigit())
        assert newest - reached <= 1
        load_model(tmp_path)


def test_no_labels_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="label at least one"):
        make_trainer(tmp_path, cohort=tiny_cohort(labelled=0), validator=None).fit()


def test_a_frozen_backbone_stays_as_it_was(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, tiny_settings(freeze_backbone=True, steps=3))
    before = {k: v.clone() for k, v in trainer.network.state_dict().items()}
    trainer.fit()
    after = trainer.network.state_dict()
    assert all(torch.equal(before[k], after[k]) for k in before if k.startswith("backbone."))
    assert any(not torch.equal(before[k], after[k]) for k in before if k.startswith("head."))


def test_learning_rate_decays_to_zero_or_stays() -> None:
    settings = tiny_settings(steps=100, learning_rate=1e-3)
    assert learning_rate(settings, 0) == pytest.approx(1e-3)
    assert learning_rate(settings, 50) == pytest.approx(1e-3 * 0.5**0.9)
    assert learning_rate(tiny_settings(schedule="constant", learning_rate=2e-4), 7) == 2e-4


# -- validation ------------------------------------------------------------------------------


def test_mean_dice_leaves_empty_channels_out() -> None:
    first, second = torch.zeros(3, 4, 4), torch.zeros(3, 4, 4)
    first[0, :2], second[0, 1:3] = 1, 1
    first[1], second[1] = 1, 1
    assert mean_dice(first, second) == pytest.approx((0.5 + 1) / 2)


def test_cases_are_spread_over_the_cohort() -> None:
    assert spread(list(range(10)), 4) == [0, 2, 5, 7]
    assert spread([1, 2], 4) == [1, 2]


def test_held_back_dice_is_one_for_a_perfect_head() -> None:
    cohort = tiny_cohort(labelled=2)
    network = build_network(NetworkSettings(dimension=2, base_width=4, classes=2))
    network.segment = lambda f: torch.cat([0.5 - cohort.images[:1], cohort.images[:1] - 0.5], 1)  # type: ignore[method-assign]
    score = HeldBackDice(cohort, {0: cohort.labels[0]}).score(network)
    assert score > 0.99
