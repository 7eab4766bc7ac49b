"""The loop and its checkpoints: exact resume, kills, damage, non-finite steps, foreign weights."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from napari_gemini.errors import ModelError, StudyError, TrainingError
from napari_gemini.learning.checkpoints import (
    TrainingState,
    intact_checkpoints,
    load_model,
    load_training_state,
    load_weights,
    resolve_model,
)
from napari_gemini.learning.cohort import Cohort
from napari_gemini.learning.objectives.base import Objective, Update
from napari_gemini.learning.objectives.registry import objective_class
from napari_gemini.learning.objectives.supervised import Supervised
from napari_gemini.learning.tensor_files import save_tensors
from napari_gemini.learning.trainer import Trainer, learning_rate
from napari_gemini.learning.validation import HeldBackDice, LabelConsistency, mean_dice, spread
from napari_gemini.networks.gemini import build_network
from napari_gemini.progress import SilentReporter
from napari_gemini.settings import NetworkSettings, TrainSettings
from tests.learning.helpers import tiny_card, tiny_cohort, tiny_settings


class StopAfter(SilentReporter):
    """Asks to stop once a step was reached, and keeps what was said."""

    def __init__(self, checks: int | None = None) -> None:
        self.checks = checks
        self.logs: list[str] = []
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.values: list[dict[str, float]] = []

    def log(self, message: str, level: str = "info") -> None:
        self.logs.append(message)

    def event(self, name: str, **payload: Any) -> None:
        self.events.append((name, payload))

    def progress(self, done: int, total: int, message: str = "", **values: float) -> None:
        self.values.append(values)

    def cancelled(self) -> bool:
        if self.checks is None:
            return False
        self.checks -= 1
        return self.checks < 0


def _trainer(
    run: Path,
    settings: TrainSettings | None = None,
    reporter: SilentReporter | None = None,
    cohort: Cohort | None = None,
    **kwargs: Any,
) -> Trainer:
    settings = settings or tiny_settings()
    cohort = cohort or tiny_cohort(dimension=settings.network.dimension)
    torch.manual_seed(settings.seed)
    objective = objective_class(settings.objective)(
        build_network(settings.network), settings, cohort
    )
    kwargs.setdefault("validator", LabelConsistency(cohort))
    return Trainer(objective, run, tiny_card(settings), reporter or SilentReporter(), **kwargs)


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
    _trainer(tmp_path / "whole", settings, validator=None).fit()
    stopped = _trainer(tmp_path / "parts", settings, StopAfter(checks=1), validator=None).fit()
    assert stopped.stopped
    assert stopped.step == 1
    torch.manual_seed(999)  # whatever another process would have drawn
    second = _trainer(tmp_path / "parts", settings, validator=None)
    assert second.resume()
    assert second.step == 1
    assert not second.fit().stopped
    assert _same_weights(tmp_path / "whole", tmp_path / "parts")


def test_bfloat16_runs_resume_exactly_too(tmp_path: Path) -> None:
    settings = tiny_settings(steps=4)
    _trainer(tmp_path / "whole", settings, autocast=torch.bfloat16).fit()
    _trainer(tmp_path / "parts", settings, StopAfter(checks=2), autocast=torch.bfloat16).fit()
    second = _trainer(tmp_path / "parts", settings, autocast=torch.bfloat16)
    second.resume()
    second.fit()
    assert _same_weights(tmp_path / "whole", tmp_path / "parts")


def test_other_conditions_are_said_on_resume(tmp_path: Path) -> None:
    _trainer(tmp_path, tiny_settings(steps=2)).fit()
    reporter = StopAfter()
    _trainer(tmp_path, tiny_settings(steps=2), reporter, autocast=torch.bfloat16).resume()
    assert any("bit for bit" in message for message in reporter.logs)


def test_training_lowers_the_losses_and_reports_them(tmp_path: Path) -> None:
    reporter = StopAfter()
    settings = tiny_settings(steps=60, learning_rate=3e-3)
    result = _trainer(tmp_path, settings, reporter).fit()
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
    _trainer(tmp_path, tiny_settings(steps=12, checkpoint_every=2, validate_every=2)).fit()
    kept = sorted(p.name for p in (tmp_path / "checkpoints").iterdir())
    best = json.loads((tmp_path / "best.json").read_text())["checkpoint"]
    assert set(kept) == {"0000010", "0000012", best}
    assert json.loads((tmp_path / "last.json").read_text()) == {"checkpoint": "0000012"}


@pytest.mark.parametrize("damaged", ["weights.safetensors", "state.safetensors", "sha256.json"])
def test_a_broken_checkpoint_falls_back_to_the_one_before(tmp_path: Path, damaged: str) -> None:
    _trainer(tmp_path, tiny_settings(steps=8, checkpoint_every=4, validate_every=8)).fit()
    broken = tmp_path / "checkpoints" / "0000008" / damaged
    broken.write_bytes(broken.read_bytes()[:-10])
    trainer = _trainer(tmp_path, tiny_settings(steps=8))
    assert trainer.resume()
    assert trainer.step == 4


KILLED = textwrap.dedent(
    """
    import sys, torch
    from pathlib import Path
    sys.path.insert(0, {root!r})
    torch.set_num_threads(1)
    from tests.learning.helpers import tiny_settings
    from tests.learning.test_training import _trainer
    trainer = _trainer(Path({run!r}), tiny_settings(steps=100000, checkpoint_every=1))
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


class _Exploding(Supervised):
    def updates(self, step: int, generator: torch.Generator) -> Any:
        def terms() -> dict[str, torch.Tensor]:
            bad = self.network.head[0].weight.sum() * (float("nan") if self.bad(step) else 1.0)
            return {"loss": bad}

        yield Update("segmentation", terms)

    bad: Callable[[int], bool] = staticmethod(lambda step: True)


def _exploding(
    run: Path,
    bad: Callable[[int], bool],
    reporter: SilentReporter,
    kind: type[_Exploding] = _Exploding,
    **changes: Any,
) -> Trainer:
    settings = tiny_settings(
        **{"steps": 10, "max_nonfinite": 3, "objective": "supervised"} | changes
    )
    cohort = tiny_cohort()
    objective: Objective = kind(build_network(settings.network), settings, cohort)
    objective.bad = bad  # type: ignore[attr-defined]
    return Trainer(objective, run, tiny_card(settings), reporter)


def test_single_nonfinite_steps_are_skipped_and_counted(tmp_path: Path) -> None:
    reporter = StopAfter()
    trainer = _exploding(tmp_path, lambda step: step in (2, 5, 6), reporter)
    result = trainer.fit()
    assert result.nonfinite == 3
    assert result.step == 10
    assert all(torch.isfinite(p).all() for p in trainer.network.parameters())
    assert len([m for m in reporter.logs if "skipped" in m]) == 3


def test_lasting_nonfinite_steps_stop_with_advice(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="a lower learning rate") as caught:
        _exploding(tmp_path, lambda step: True, StopAfter()).fit()
    # The run was in fp32 and no checkpoint was due: neither is named.
    assert "fp32" not in str(caught.value)
    assert "--init" not in str(caught.value)


def test_advice_after_nonfinite_steps_names_the_last_good_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="--init") as caught:
        _exploding(tmp_path, lambda step: step >= 4, StopAfter()).fit()
    named = str(caught.value).split("--init ")[1].split(")")[0]
    assert Path(named).name == "0000004"
    assert (Path(named) / "weights.safetensors").is_file()


class _HalfExploding(_Exploding):
    """A second update that stays finite beside one that does not."""

    def updates(self, step: int, generator: torch.Generator) -> Any:
        yield from super().updates(step, generator)
        yield Update("restoration", lambda: {"loss": self.network.head[0].weight.square().sum()})


def test_a_finite_update_does_not_hide_one_that_stays_nonfinite(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="The segmentation loss was not finite for 3 updates"):
        _exploding(tmp_path, lambda step: True, StopAfter(), _HalfExploding).fit()


def test_a_run_too_short_for_the_limit_stops_as_well(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="a lower learning rate"):
        _exploding(tmp_path, lambda step: step >= 1, StopAfter(), steps=4, max_nonfinite=20).fit()
    assert next(intact_checkpoints(tmp_path), None) is None


def test_no_checkpoint_is_written_while_updates_fail(tmp_path: Path) -> None:
    trainer = _exploding(
        tmp_path, lambda step: step in (3, 4), StopAfter(), checkpoint_every=4, steps=7
    )
    trainer.fit()
    assert [folder.name for folder in intact_checkpoints(tmp_path)] == ["0000007", "0000006"]


def test_a_run_of_a_version_that_counted_failures_in_one_number_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = tiny_settings(steps=2)
    first = _trainer(tmp_path, settings, StopAfter(checks=1))
    state = first._state

    def older() -> TrainingState:
        now = state()
        values = {k: v for k, v in now.values.items() if k != "failures_in_a_row"}
        return TrainingState(now.tensors, {**values, "bad_in_a_row": 0})

    monkeypatch.setattr(first, "_state", older)
    first.fit()
    second = _trainer(tmp_path, settings)
    assert second.resume()
    assert second.fit().step == 2


def test_no_labels_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="label at least one"):
        _trainer(tmp_path, cohort=tiny_cohort(labelled=0), validator=None).fit()


def test_a_frozen_backbone_stays_as_it_was(tmp_path: Path) -> None:
    trainer = _trainer(tmp_path, tiny_settings(freeze_backbone=True, steps=3))
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


# -- models of other origin ------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("run")
    _trainer(run, tiny_settings(steps=2, validate_every=2)).fit()
    return run


def test_a_run_folder_and_its_checkpoint_load_as_models(trained: Path) -> None:
    model = load_model(trained)
    assert model.card.labels == {0: "background", 1: "disc"}
    assert not model.network.training
    folder = resolve_model(trained)
    assert resolve_model(folder) == folder
    assert resolve_model(folder / "weights.safetensors") == folder


class _Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {os.environ['BOMB']}",)


def test_a_pickle_is_never_executed(
    tmp_path: Path, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marker = tmp_path / "exploded"
    monkeypatch.setenv("BOMB", str(marker))
    bomb = tmp_path / "model.pth"
    bomb.write_bytes(pickle.dumps(_Bomb()))
    with pytest.raises(ModelError, match="pickled"):
        load_model(bomb)
    source = resolve_model(trained)
    folder = tmp_path / "model"
    folder.mkdir()
    card = json.loads((source / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps({**card, "weights_sha256": ""}))
    (folder / "weights.safetensors").write_bytes(bomb.read_bytes())
    with pytest.raises(ModelError, match="not a safetensors file"):
        load_model(folder)
    assert not marker.exists()


def test_foreign_or_damaged_models_are_one_sentence(tmp_path: Path, trained: Path) -> None:
    source = resolve_model(trained)
    card = json.loads((source / "model.json").read_text())

    def folder(name: str, **changes: Any) -> Path:
        made = tmp_path / name
        made.mkdir()
        (made / "weights.safetensors").write_bytes((source / "weights.safetensors").read_bytes())
        (made / "model.json").write_text(json.dumps({**card, **changes}))
        return made

    wider = {**card["network"], "base_width": 8}
    with pytest.raises(ModelError, match="another network"):
        load_model(folder("wider", network=wider))
    with pytest.raises(ModelError, match="newer version"):
        load_model(folder("newer", schema_version=99))
    with pytest.raises(ModelError, match="damaged"):
        load_model(folder("replaced", weights_sha256="0" * 64))
    with pytest.raises(ModelError, match="no model 'nothing'"):
        load_model("nothing")
    bare = folder("bare")
    (bare / "model.json").unlink()
    with pytest.raises(ModelError, match=r"no model\.json"):
        load_model(bare)
    (bare / "model.json").write_text("{")
    with pytest.raises(ModelError, match="damaged"):
        load_model(bare)
    (bare / "model.json").write_text("{}")
    with pytest.raises(ModelError, match="does not describe"):
        load_model(bare)


def test_transfer_takes_the_backbone_and_leaves_a_head_of_other_labels(trained: Path) -> None:
    weights, _ = load_training_state(resolve_model(trained))
    network = build_network(NetworkSettings(dimension=2, base_width=4, classes=5))
    drawn = {key: value.clone() for key, value in network.state_dict().items()}
    left = load_weights(network, weights, strict=False, source="x")
    assert set(left) == {key for key in drawn if key.startswith("head.")}
    own = network.state_dict()
    assert all(torch.equal(own[key], drawn[key]) for key in left)
    assert torch.equal(
        own["backbone.encoder.0.0.0.weight"], weights["backbone.encoder.0.0.0.weight"]
    )
