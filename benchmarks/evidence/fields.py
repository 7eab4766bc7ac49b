"""Experiments that end in fields of the deformer: ablation, positive pairs, the course of time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from benchmarks.evidence.labels import Jobs, Row, bound, labels_row, pool_row
from benchmarks.evidence.scores import Curve, deformation, feature_health
from benchmarks.evidence.training import Bench, fine_tuned, pretrain, train
from napari_gemini.correspondence.local_ncc import gvs_loss
from napari_gemini.correspondence.similarity import gss_loss
from napari_gemini.correspondence.smoothness import smoothness_loss
from napari_gemini.correspondence.warp import comparison_mask, warp
from napari_gemini.learning.objectives.base import Update
from napari_gemini.learning.objectives.gemini_semi import GeminiSemi
from napari_gemini.settings import LossWeights

#: Points of the curve.
POINTS = 8
#: Terms and directions of the ablation.
VARIANTS: dict[str, tuple[dict[str, float], bool]] = {
    "GVS": ({"gss": 0.0, "smooth": 0.0}, False),
    "GSS": ({"gvs": 0.0, "smooth": 0.0}, False),
    "GVS, GSS": ({"smooth": 0.0}, False),
    "GVS, GSS, smoothness": ({}, False),
    "GVS, GSS, both directions": ({"smooth": 0.0}, True),
    "all": ({}, True),
}


class OneWay(GeminiSemi):
    """GEMINI-Semi whose correspondence goes from the first scan to the second alone."""

    def updates(self, step: int, generator: torch.Generator) -> Iterator[Update]:
        """Yield the correspondence of one direction and then the segmentation."""
        batch = self.pairs.draw(generator)
        yield Update("correspondence", lambda: self.one_way(batch.first, batch.second))
        yield Update("segmentation", lambda: self.segmentation.terms(generator))

    def one_way(self, moving: Tensor, fixed: Tensor) -> dict[str, Tensor]:
        """Return the loss of one direction; summed over both it is that of GEMINI."""
        weights = self.settings.weights
        first, second = self.network.features(torch.cat([moving, fixed])).chunk(2)
        field = self.network.displacement(first, second)
        mask = comparison_mask(field)
        gss = gss_loss(first, second, field, mask, red_weight=weights.positive)
        gvs = gvs_loss(warp(moving, field), fixed, mask, window=self.settings.ncc_window)
        smooth = smoothness_loss(field)
        return {"loss": weights.gss * gss + weights.gvs * gvs + weights.smooth * smooth}


class LatePositive(GeminiSemi):
    """GEMINI-Semi whose positive pairs (red path) count from the middle of the training on."""

    def updates(self, step: int, generator: torch.Generator) -> Iterator[Update]:
        """Yield the updates of GEMINI-Semi with the weight of this step."""
        full = self.settings
        if step < full.steps // 2:
            weights = full.weights.model_copy(update={"positive": 0.0})
            self.settings = full.model_copy(update={"weights": weights})
        # The loss is computed when an update is used, that is before the next one is asked for.
        yield from super().updates(step, generator)
        self.settings = full


def ablation(bench: Bench, objectives: list[str] | None = None) -> Jobs:
    """Leave out GVS, GSS, smoothness and the second direction (Fig. 8, Table 5)."""

    def job(weights: dict[str, float], both: bool) -> Row:
        make: Callable[..., Any] | None = None if both else OneWay
        network = train(bench, bench.five, {"weights": weights}, make=make)
        row = labels_row(network, bench) | pool_row(network, bench)
        return row | deformation(network, bench.data)

    return {name: bound(job, *variant) for name, variant in VARIANTS.items()}


def positive_pairs(bench: Bench, objectives: list[str] | None = None) -> Jobs:
    """Train with no positive pairs, with them in the second half, and throughout (Table 4).

    The paper trains GEMINI-Semi so; here GEMINI-MIP is pre-trained without and with them as well.
    """

    def job(weight: float | None, make: Callable[..., Any] | None) -> Row:
        changes = {} if weight is None else {"weights": {"positive": weight}}
        network = train(bench, bench.five, changes, make=make)
        row = labels_row(network, bench) | pool_row(network, bench)
        return row | deformation(network, bench.data)

    def pretrained(weight: float) -> Row:
        weights = pretrain(bench, "gemini-mip", {"weights": {"positive": weight}})
        network = bench.fresh()
        network.load_state_dict(weights)
        row: Row = feature_health(network.eval(), bench.data, bench.data.test)
        row |= deformation(network, bench.data)
        tuned = fine_tuned(bench, weights, bench.five)
        return row | labels_row(tuned, bench) | pool_row(tuned, bench)

    return {
        "none": bound(job, 0.0, None),
        "second half": bound(job, None, LatePositive),
        "full": bound(job, None, None),
        "pre-training, none": bound(pretrained, 0.0),
        "pre-training, full": bound(pretrained, LossWeights().positive),
    }


def curve(bench: Bench, objectives: list[str] | None = None) -> Jobs:
    """Follow the Dice of labels and of deformations over a training (Fig. 10)."""

    def job() -> Row:
        every = max(1, bench.sizes.train // POINTS)
        watch = Curve(bench.data, every, bench.data.test)
        train(bench, bench.five, {"validate_every": every}, validator=watch)
        return {"curve": watch.rows}

    return {"gemini-semi": job}
