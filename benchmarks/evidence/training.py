"""Trainings of the experiments: pre-train, fine-tune, train; always with equal steps."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.evidence.data import Data
from napari_gemini.engine.device import setup_determinism
from napari_gemini.learning.card import ModelCard
from napari_gemini.learning.cohort import Cohort
from napari_gemini.learning.objectives.base import Objective
from napari_gemini.learning.objectives.registry import objective_class
from napari_gemini.learning.trainer import Trainer
from napari_gemini.learning.validation import Validator
from napari_gemini.networks.gemini import GeminiNetwork, build_network
from napari_gemini.progress import SilentReporter
from napari_gemini.settings import (
    PRETRAINING,
    NetworkSettings,
    TrainSettings,
    TransportSettings,
    preset,
    pretraining_preset,
)

SCRATCH = "scratch"
#: Objectives whose step compares pairs of scans.
PAIRED = ("gemini-mip", "gvsl")
Changes = dict[str, Any]
Weights = dict[str, Tensor]


@dataclass(frozen=True)
class Sizes:
    """How large the runs are; one set for all starts of a comparison.

    Attributes
    ----------
    pretrain, tune, train
        Steps of a pre-training, a fine-tuning and a training of GEMINI-Semi.
    scans
        Scans in a pre-training step (half as many pairs).
    labelled
        Labelled scans in a segmentation update, and pairs in a correspondence update of
        GEMINI-Semi.
    width
        Channels of the finest stage.
    arms
        Steps of each training of the shortfall.
    rate
        Learning rate with labels; many small structures are found in few steps at a higher one
        only.
    pretrain_rate
        Learning rate without labels.
    """

    pretrain: int
    tune: int
    train: int
    scans: int
    labelled: int
    width: int = 8
    arms: int = 1000
    rate: float = 1e-3
    pretrain_rate: float = 1e-3


SIZES = {
    "hearts": Sizes(pretrain=1500, tune=900, train=400, scans=4, labelled=2),
    "phantom": Sizes(pretrain=300, tune=240, train=300, scans=4, labelled=2),
    "hippocampus": Sizes(pretrain=300, tune=300, train=300, scans=2, labelled=1),
    "brains": Sizes(pretrain=200, tune=600, train=300, scans=2, labelled=1, arms=500, rate=3e-3),
    "brains-2mm": Sizes(pretrain=100, tune=400, train=300, scans=2, labelled=1, rate=3e-3),
}
SMOKE = Sizes(pretrain=2, tune=2, train=4, scans=4, labelled=2, width=4, arms=2)


@dataclass(frozen=True)
class Bench:
    """What all runs of an experiment share.

    Attributes
    ----------
    data, sizes
        Scans, and how large the runs are.
    seed
        Of weights, of the order of the scans, and of which scans are labelled.
    cache
        Folder that keeps pre-trained weights for other experiments.
    labels
        The labelled scans, where they are not those of the seed.
    """

    data: Data
    sizes: Sizes
    seed: int = 0
    cache: Path | None = None
    labels: list[str] | None = None

    @property
    def five(self) -> list[str]:
        """Ids of the five labelled scans."""
        return self.data.five[self.seed] if self.labels is None else self.labels

    @property
    def quarter(self) -> list[str]:
        """Ids of a quarter of the pool, to be used with their labels."""
        return self.data.part(0.25, self.seed)

    def network_settings(self, **changes: Any) -> NetworkSettings:
        """Return the layout of the network."""
        values = {
            "dimension": self.data.dimension,
            "base_width": self.sizes.width,
            "classes": self.data.classes,
        }
        return NetworkSettings(**(values | changes))

    def fresh(self, settings: NetworkSettings | None = None) -> GeminiNetwork:
        """Return a network with random weights; the same ones for the same seed."""
        setup_determinism(self.seed, 1)
        return build_network(settings or self.network_settings())


def pretraining_settings(bench: Bench, objective: str, changes: Changes) -> TrainSettings:
    """Return the standard settings of an objective with the steps and scans of the bench."""
    sizes = bench.sizes
    values = pretraining_preset(objective, "standard", 2).model_dump() | {
        "steps": sizes.pretrain,
        "learning_rate": sizes.pretrain_rate,
        "seed": bench.seed,
        "precision": "fp32",
        "network": bench.network_settings().model_dump(),
        "checkpoint_every": 10**9,
        "validate_every": 10**9,
        "pairs_per_step": max(1, sizes.scans // 2) if objective in PAIRED else sizes.scans,
        # The published 2048 is for pictures of 224 pixels and hundreds of thousands of scans.
        "transport": TransportSettings(expansion=256).model_dump(),
    }
    return TrainSettings.model_validate(_merged(values, changes))


def label_settings(bench: Bench, objective: str, steps: int, changes: Changes) -> TrainSettings:
    """Return the settings of a training with labels: fine-tuning or GEMINI-Semi."""
    values = TrainSettings(
        preset=None,
        objective=objective,
        steps=steps,
        learning_rate=bench.sizes.rate,
        seed=bench.seed,
        precision="fp32",
        labelled_per_step=bench.sizes.labelled,
        pairs_per_step=max(1, bench.sizes.labelled),
        # The paper has neither.
        shape_transfer=0.0,
        label_transfer=0.0,
        checkpoint_every=10**9,
        validate_every=10**9,
        network=bench.network_settings(),
    ).model_dump()
    return TrainSettings.model_validate(_merged(values, changes))


def quick_settings(bench: Bench, rate: float) -> TrainSettings:
    """Return the preset ``quick`` with a learning rate; a smoke test makes a few steps of it."""
    settings = preset("quick", bench.network_settings().dimension)
    changes = {
        "steps": min(settings.steps, bench.sizes.arms),
        "seed": bench.seed,
        "learning_rate": rate,
        "precision": "fp32",
        "checkpoint_every": 10**9,
        "validate_every": 10**9,
        "network": bench.network_settings(field_stride=settings.network.field_stride),
    }
    return settings.model_copy(update=changes)


def fit(objective: Objective, validator: Validator | None = None) -> GeminiNetwork:
    """Train a network in place and return it in evaluation mode."""
    settings, shape = objective.settings, objective.cohort.shape
    card = ModelCard(
        network=settings.network, spacing_mm=[1.0] * len(shape), grid_shape=list(shape)
    )
    with tempfile.TemporaryDirectory() as folder:
        Trainer(objective, Path(folder), card, SilentReporter(), validator).fit()
    return objective.network.eval()


def run(
    network: GeminiNetwork,
    settings: TrainSettings,
    cohort: Cohort,
    validator: Validator | None = None,
    make: Callable[..., Objective] | None = None,
) -> GeminiNetwork:
    """Train a network with the objective of the settings, or with one of its own kind."""
    make = make or objective_class(settings.objective)
    return fit(make(network, settings, cohort), validator)


def pretrain(
    bench: Bench, objective: str, changes: Changes | None = None, share: float = 1.0
) -> Weights:
    """Return all weights of a network pre-trained on scans of the pool, without any label.

    Parameters
    ----------
    bench
        Data, sizes, seed and cache.
    objective
        One of the objectives without labels, or :data:`SCRATCH`, which returns random weights.
    changes
        Settings that differ from the standard ones, nested as in :class:`TrainSettings`.
    share
        Share of the pool to learn from.
    """
    network = bench.fresh()
    if objective != SCRATCH:
        settings = pretraining_settings(bench, objective, changes or {})
        network = bench.fresh(settings.network)
        key = json.dumps([bench.data.name, len(bench.data.pool), share, settings.model_dump()])
        name = f"{objective}-{hashlib.sha256(key.encode()).hexdigest()[:12]}.pt"
        kept = bench.cache / name if bench.cache else None
        if kept is not None and kept.exists():
            loaded: Weights = torch.load(kept, weights_only=True)
            return loaded
        scans = bench.data.pool if share == 1 else bench.data.part(share, bench.seed)
        run(network, settings, bench.data.cohort([], scans))
        if kept is not None:
            kept.parent.mkdir(parents=True, exist_ok=True)
            torch.save(network.state_dict(), kept)
    return {name: value.clone() for name, value in network.state_dict().items()}


def fine_tuned(
    bench: Bench,
    weights: Weights,
    labelled: list[str],
    changes: Changes | None = None,
    validator: Validator | None = None,
) -> GeminiNetwork:
    """Fine-tune a backbone with labels; head and order of the scans are the same for all."""
    settings = label_settings(bench, "supervised", bench.sizes.tune, changes or {})
    network = bench.fresh(settings.network)
    own = {k: v for k, v in weights.items() if k.startswith("backbone.")}
    network.load_state_dict(own, strict=False)
    # A fine-tuning sees the labelled scans alone; a cohort takes two at least.
    return run(network, settings, bench.data.cohort(labelled, labelled), validator)


def train(
    bench: Bench,
    labelled: list[str],
    changes: Changes | None = None,
    validator: Validator | None = None,
    make: Callable[..., Objective] | None = None,
    objective: str = "gemini-semi",
) -> GeminiNetwork:
    """Train from random weights on the pool and a few labels.

    Parameters
    ----------
    bench
        Data, sizes and seed.
    labelled
        Scans of the pool whose labels are used.
    changes
        As for :func:`pretrain`.
    validator
        Watches the training.
    make
        An objective of the experiment's own.
    objective
        ``gemini-semi`` or ``supervised``.
    """
    settings = label_settings(bench, objective, bench.sizes.train, changes or {})
    network = bench.fresh(settings.network)
    return run(network, settings, bench.data.cohort(labelled), validator, make)


def starts(objectives: list[str] | None) -> list[str]:
    """Return the starts that a comparison goes through, scratch first."""
    return list(objectives) if objectives else [SCRATCH, *PRETRAINING]


def _merged(values: Changes, changes: Changes) -> Changes:
    result = dict(values)
    for key, value in changes.items():
        nested = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = _merged(result[key], value) if nested else value
    return result
