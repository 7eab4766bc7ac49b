"""The training loop: updates, skipped non-finite steps, validation, checkpoints, exact resume."""

from __future__ import annotations

import contextlib
import math
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from napari_gemini.errors import TrainingError
from napari_gemini.learning.card import ModelCard
from napari_gemini.learning.checkpoints import (
    TrainingState,
    intact_checkpoints,
    load_training_state,
    save_checkpoint,
)
from napari_gemini.learning.objectives.base import Objective, Update
from napari_gemini.learning.validation import Validator
from napari_gemini.networks.gemini import GeminiNetwork
from napari_gemini.progress import Reporter
from napari_gemini.settings import TrainSettings

REPORT_EVERY = 5
POLYNOMIAL_POWER = 0.9


@dataclass(frozen=True)
class TrainResult:
    """How a run ended.

    Attributes
    ----------
    step
        Steps done in all.
    stopped
        Whether it was asked to stop before the last step.
    best_score
        Best validation score, None without validation.
    nonfinite
        Updates skipped because the loss or a gradient was not finite.
    """

    step: int
    stopped: bool
    best_score: float | None
    nonfinite: int


def learning_rate(settings: TrainSettings, step: int) -> float:
    """Return the learning rate of a step: constant, or polynomial decay with power 0.9."""
    if settings.schedule == "constant":
        return settings.learning_rate
    return settings.learning_rate * (1 - step / settings.steps) ** POLYNOMIAL_POWER


class Trainer:
    """Trains one network with one objective and keeps its run folder up to date.

    Parameters
    ----------
    objective
        Holds the network, the settings and the cohort.
    run
        The run folder; checkpoints are written below it.
    card
        What ``model.json`` will say; step and score are filled in here.
    reporter
        Receives progress and is asked for cancellation at every step.
    validator
        Scores the network, or None.
    autocast
        Reduced precision for the network, or None for float32. Losses stay in float32.
    """

    def __init__(
        self,
        objective: Objective,
        run: Path,
        card: ModelCard,
        reporter: Reporter,
        validator: Validator | None = None,
        autocast: torch.dtype | None = None,
    ) -> None:
        self.objective = objective
        self.network: GeminiNetwork = objective.network
        self.settings: TrainSettings = objective.settings
        self.run_folder = run
        self.card = card
        self.reporter = reporter
        self.validator = validator
        self.autocast = autocast
        self.generator = torch.Generator().manual_seed(self.settings.seed)
        if self.settings.freeze_backbone:
            self.network.backbone.requires_grad_(False)
        self.parameters = [
            p
            for part in (self.network, objective.heads)
            for p in part.parameters()
            if p.requires_grad
        ]
        # The fused kernel reads and writes each weight once; on a CPU that saves a tenth of a step.
        self.optimiser = torch.optim.Adam(
            self.parameters, lr=self.settings.learning_rate, fused=True
        )
        self.step = 0
        self.best_score: float | None = None
        self.nonfinite = 0
        #: Updates in a row that were not finite, by their name: a finite one of another name, on
        #: other parts of the network, says nothing about this one.
        self._failures_in_a_row: Counter[str] = Counter()
        self._sums: dict[str, list[float]] = defaultdict(list)

    @property
    def device(self) -> torch.device:
        """Device of the network."""
        return self.parameters[0].device

    def fit(self) -> TrainResult:
        """Train until the last step or until the reporter asks to stop.

        Returns
        -------
        TrainResult
            A checkpoint of the last step exists when this returns.

        Raises
        ------
        TrainingError
            If updates stay non-finite.
        """
        self.objective.check()
        settings = self.settings
        self.network.train()
        self.objective.heads.train()
        saved, due = -1, False
        while self.step < settings.steps and not self.reporter.cancelled():
            self._one_step()
            self.step += 1
            if self.step % REPORT_EVERY == 0 or self.step == settings.steps:
                self._report()
            better = False
            if self.step % settings.validate_every == 0 or self.step == settings.steps:
                better = self._validate()
            due = due or self.step % settings.checkpoint_every == 0
            # What stands while updates fail may be what makes them fail.
            if better or (due and not any(self._failures_in_a_row.values())):
                self.save(best=better)
                saved, due = self.step, False
        if saved != self.step and self.step > 0:
            self.save(best=self.best_score is None and self.validator is None)
        return TrainResult(self.step, self.step < settings.steps, self.best_score, self.nonfinite)

    def _one_step(self) -> None:
        rate = learning_rate(self.settings, self.step)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        for update in self.objective.updates(self.step, self.generator):
            self._apply(update)

    def _apply(self, update: Update) -> None:
        self.optimiser.zero_grad(set_to_none=True)
        with self._precision():
            terms = update.terms()
        loss = terms["loss"]
        if not math.isfinite(float(loss.detach())):
            self._skip(update)
            return
        loss.backward()
        limit = self.settings.gradient_clip or math.inf
        if not math.isfinite(float(torch.nn.utils.clip_grad_norm_(self.parameters, limit))):
            self._skip(update)
            return
        self._failures_in_a_row[update.name] = 0
        self.optimiser.step()
        for name, value in terms.items():
            key = f"loss_{update.name}" if name == "loss" else name
            self._sums[key].append(float(value.detach()))

    def _skip(self, update: Update) -> None:
        self.nonfinite += 1
        self._failures_in_a_row[update.name] += 1
        self.reporter.log(
            f"Step {self.step}: the {update.name} update was not finite and was skipped.", "warning"
        )
        failures = self._failures_in_a_row[update.name]
        # A run of few steps has failed as well when half of them have.
        if failures >= min(self.settings.max_nonfinite, math.ceil(self.settings.steps / 2)):
            raise TrainingError(
                f"The {update.name} loss was not finite for {failures} updates in a row "
                f"(step {self.step}); {self._way_out()}."
            )

    def _way_out(self) -> str:
        """Say what to change when losses are not finite; a resumed run would keep its settings."""
        rate = f"a lower learning rate (now {self.settings.learning_rate:g})"
        precise = "" if self.autocast is None else " or precision fp32"
        newest = next(intact_checkpoints(self.run_folder), None)
        start = "" if newest is None else f", from the last good checkpoint (--init {newest})"
        return f"look for broken scans, or start a new run with {rate}{precise}{start}"

    @contextlib.contextmanager
    def _precision(self) -> Iterator[None]:
        if self.autocast is None:
            yield
        else:
            with torch.autocast(self.device.type, dtype=self.autocast):
                yield

    def _report(self) -> None:
        values = {name: sum(v) / len(v) for name, v in self._sums.items() if v}
        self._sums.clear()
        self.reporter.progress(self.step, self.settings.steps, "training", **values)

    def _validate(self) -> bool:
        """Score the network, report it, and tell whether it is the best so far."""
        if self.validator is None:
            return False
        self.network.eval()
        with torch.no_grad(), self._precision():
            score = self.validator.score(self.network)
        self.network.train()
        self.reporter.event("validation", step=self.step, score=score, title=self.validator.title)
        # A later model of equal score is the better trained one.
        if self.best_score is None or score >= self.best_score:
            self.best_score = score
            return True
        return False

    def save(self, *, best: bool) -> Path:
        """Write a checkpoint of the present step."""
        card = self.card.model_copy(update={"step": self.step, "score": self.best_score})
        folder = save_checkpoint(self.run_folder, self.network, card, self._state(), best=best)
        self.reporter.event("checkpoint", step=self.step, path=str(folder), best=best)
        return folder

    def _state(self) -> TrainingState:
        tensors: dict[str, Tensor] = {"generator": self.generator.get_state()}
        tensors["global_generator"] = torch.get_rng_state()
        for name, value in self.objective.heads.state_dict().items():
            tensors[f"heads.{name}"] = value
        for index, parameter in enumerate(self.parameters):
            for name, value in self.optimiser.state.get(parameter, {}).items():
                tensors[f"optimiser.{index}.{name}"] = torch.as_tensor(value)
        values = {
            "step": self.step,
            "best_score": self.best_score,
            "nonfinite": self.nonfinite,
            "failures_in_a_row": dict(self._failures_in_a_row),
            "sums": dict(self._sums),
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
            "autocast": str(self.autocast),
            "device": self.device.type,
        }
        return TrainingState(tensors, values)

    def resume(self) -> bool:
        """Continue from the newest intact checkpoint of the run folder.

        Returns
        -------
        bool
            False where there is none, and training starts at step 0. Conditions that differ from
            the interrupted run, and so break bit-for-bit equality, are said in the log.
        """
        for folder in intact_checkpoints(self.run_folder):
            weights, state = load_training_state(folder)
            self.network.load_state_dict(weights)
            self._restore(state)
            return True
        return False

    def _restore(self, state: TrainingState) -> None:
        values, tensors = state.values, state.tensors
        self.step = int(values["step"])
        self.best_score = values["best_score"]
        self.nonfinite = int(values["nonfinite"])
        # Older checkpoints counted all updates in one number.
        self._failures_in_a_row = Counter(values.get("failures_in_a_row", {}))
        self._sums = defaultdict(list, {k: list(v) for k, v in values["sums"].items()})
        self.generator.set_state(tensors["generator"])
        torch.set_rng_state(tensors["global_generator"])
        heads = {k.removeprefix("heads."): v for k, v in tensors.items() if k.startswith("heads.")}
        self.objective.heads.load_state_dict(heads)
        for index, parameter in enumerate(self.parameters):
            prefix = f"optimiser.{index}."
            moments = {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}
            if moments:
                # Adam keeps its step counter on the host.
                self.optimiser.state[parameter] = {
                    k: v.clone() if k == "step" else v.to(parameter.device)
                    for k, v in moments.items()
                }
        now = {
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
            "autocast": str(self.autocast),
            "device": self.device.type,
        }
        differing = [
            f"{k} {values.get(k)} then, {v} now" for k, v in now.items() if values.get(k) != v
        ]
        if differing:
            self.reporter.log(
                "Resumed under other conditions, so the result will not equal an uninterrupted "
                f"run bit for bit: {'; '.join(differing)}.",
                "warning",
            )
