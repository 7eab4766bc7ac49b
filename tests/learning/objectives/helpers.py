"""Short pre-trainings on the discs of the tiny cohort."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from napari_gemini.learning.cohort import Cohort, assemble
from napari_gemini.learning.objectives.registry import objective_class
from napari_gemini.learning.trainer import Trainer
from napari_gemini.networks.gemini import build_network
from napari_gemini.phantom.cohort import make_cohort
from napari_gemini.progress import SilentReporter
from napari_gemini.settings import (
    CoverSettings,
    LossWeights,
    NetworkSettings,
    PixelSettings,
    TrainSettings,
    TransportSettings,
)
from tests.learning.helpers import tiny_card, tiny_cohort, tiny_settings

#: What makes each objective cheap; the rest is as everywhere.
SMALL: dict[str, dict[str, Any]] = {
    "gemini-mip": {},
    "gvsl": {"weights": LossWeights(gvs=1, gss=0, smooth=1, restoration=1)},
    "cover": {"cover": CoverSettings(neighbourhood=3), "pairs_per_step": 2, "gradient_clip": 1.0},
    "pix2rep": {"pixel": PixelSettings(pixels=64, projection=16), "pairs_per_step": 2},
    "pix2rep-v2": {"pixel": PixelSettings(pixels=64, projection=16), "pairs_per_step": 2},
    "optiml": {
        "transport": TransportSettings(expansion=64, heads=2, tokens=4, iterations=10),
        "pairs_per_step": 4,
    },
}


def pretraining_settings(objective: str, dimension: int = 2, **changes: Any) -> TrainSettings:
    """Return settings of a pre-training of a second or two."""
    values = {
        "objective": objective,
        "use_labels": False,
        "network": NetworkSettings(dimension=dimension, base_width=4),
        **SMALL[objective],
        **changes,
    }
    return tiny_settings(**values)


def pretrainer(
    run: Path,
    settings: TrainSettings,
    reporter: SilentReporter | None = None,
    cohort: Cohort | None = None,
) -> Trainer:
    """Return a trainer as the engine makes it: network and heads follow from the seed."""
    cohort = cohort or tiny_cohort(dimension=settings.network.dimension)
    torch.manual_seed(settings.seed)
    network = build_network(settings.network)
    objective = objective_class(settings.objective)(network, settings, cohort)
    return Trainer(objective, run, tiny_card(settings), reporter or SilentReporter())


class Curve(SilentReporter):
    """Keeps the reported values and may ask to stop."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.values: list[dict[str, float]] = []
        self.logs: list[str] = []
        self.stop_at = stop_at
        self.asked = 0

    def progress(self, done: int, total: int, message: str = "", **values: float) -> None:
        self.values.append(values)

    def log(self, message: str, level: str = "info") -> None:
        self.logs.append(message)

    def cancelled(self) -> bool:
        self.asked += 1
        return self.stop_at is not None and self.asked > self.stop_at

    def mean(self, name: str, part: slice) -> float:
        """Return the mean of one value over some of the reports."""
        values = [v[name] for v in self.values if name in v][part]
        return sum(values) / len(values)


def phantom_cohort(dimension: Literal[2, 3] = 2, count: int = 6) -> Cohort:
    """Return scans of the phantom organ, without labels."""
    shape = {2: (48, 48), 3: (32, 32, 32)}[dimension]
    cases = make_cohort(count, dimension, shape, seed=0, crop=False).cases
    images = [case.image.data.astype(np.float32) for case in cases]
    return assemble([case.id for case in cases], [image / image.max() for image in images], {})


def textured_cohort(count: int = 4, dimension: int = 2, seed: int = 0) -> Cohort:
    """Return smooth random textures, in which every voxel looks different from every other."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand((count, 1, *[8] * dimension), generator=generator)
    mode = "bicubic" if dimension == 2 else "trilinear"
    size = (32,) * dimension
    fine = torch.nn.functional.interpolate(coarse, size=size, mode=mode).clamp(0, 1)
    return assemble([f"t{i}" for i in range(count)], list(fine[:, 0].numpy()), {})
