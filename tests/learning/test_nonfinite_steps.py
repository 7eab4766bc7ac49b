"""Steps whose loss is not finite: skipped, counted, and in the end a reason to stop."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from napari_gemini.errors import TrainingError
from napari_gemini.learning.checkpoints import (
    TrainingState,
    intact_checkpoints,
)
from napari_gemini.learning.objectives.base import Objective, Update
from napari_gemini.learning.objectives.supervised import Supervised
from napari_gemini.learning.trainer import Trainer
from napari_gemini.networks.gemini import build_network
from napari_gemini.progress import SilentReporter
from tests.learning.helpers import StopAfter, make_trainer, tiny_card, tiny_cohort, tiny_settings


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
    first = make_trainer(tmp_path, settings, StopAfter(checks=1))
    state = first._state

    def older() -> TrainingState:
        now = state()
        values = {k: v for k, v in now.values.items() if k != "failures_in_a_row"}
        return TrainingState(now.tensors, {**values, "bad_in_a_row": 0})

    monkeypatch.setattr(first, "_state", older)
    first.fit()
    second = make_trainer(tmp_path, settings)
    assert second.resume()
    assert second.fit().step == 2
