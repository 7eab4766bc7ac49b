"""A tiny labelled cohort, settings that train in a second, and a training of both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from napari_gemini.learning.card import ModelCard
from napari_gemini.learning.cohort import Cohort, assemble
from napari_gemini.learning.objectives.registry import objective_class
from napari_gemini.learning.trainer import Trainer
from napari_gemini.learning.validation import LabelConsistency
from napari_gemini.networks.gemini import build_network
from napari_gemini.progress import SilentReporter
from napari_gemini.settings import NetworkSettings, TrainSettings


def tiny_cohort(count: int = 4, dimension: int = 2, labelled: int = 2, seed: int = 0) -> Cohort:
    """Return bright discs of varying centre and radius with their labels."""
    rng = np.random.default_rng(seed)
    shape = (32,) * dimension
    axes = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"))
    images, labels = [], {}
    for index in range(count):
        centre = 15.5 + rng.uniform(-3, 3, dimension)
        distance = np.sqrt(((axes.T - centre).T ** 2).sum(0))
        disc = distance < rng.uniform(6, 9)
        images.append((0.2 + 0.6 * disc + rng.normal(0, 0.03, shape)).clip(0, 1))
        if index < labelled:
            labels[f"case{index}"] = disc.astype(np.uint8)
    return assemble([f"case{i}" for i in range(count)], images, labels)


def tiny_settings(**changes: Any) -> TrainSettings:
    """Return settings of a run of a few seconds."""
    values: dict[str, Any] = {
        "preset": None,
        "steps": 12,
        "checkpoint_every": 4,
        "validate_every": 6,
        "precision": "fp32",
        "network": NetworkSettings(dimension=2, base_width=4, classes=2),
    }
    return TrainSettings(**{**values, **changes})


def tiny_card(settings: TrainSettings) -> ModelCard:
    """Return the card of a model trained on the tiny cohort."""
    dimension = settings.network.dimension
    return ModelCard(
        network=settings.network,
        spacing_mm=[1.0] * dimension,
        grid_shape=[32] * dimension,
        labels={0: "background", 1: "disc"},
    )


def files_below(folder: Path) -> set[str]:
    """Return the relative paths of all files below a folder."""
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}


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


def make_trainer(
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
