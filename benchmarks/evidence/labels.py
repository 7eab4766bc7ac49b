"""Experiments that end in labels of the head: starts, shares, seeds, backbones, widths."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.evidence.scores import HeadCurve, deformation, errors, feature_health, head_dice
from benchmarks.evidence.training import (
    SCRATCH,
    Bench,
    fine_tuned,
    label_settings,
    pretrain,
    quick_settings,
    run,
    starts,
    train,
)
from napari_gemini.networks.blocks import count_parameters
from napari_gemini.networks.gemini import GeminiNetwork

Row = dict[str, Any]
#: What an experiment is made of: setting -> the run that gives its numbers.
Jobs = dict[str, Callable[[], Row]]

SHARES = (0.1, 0.25, 0.5, 1.0)
WIDTHS = (4, 8, 16, 32)
RATES = (1e-3, 3e-3)
#: Points of a course over steps, and scans that it is scored on, about.
POINTS, SCANS = 6, 50
#: Scans of the pool that are scored at most, about, in 2D and 3D.
MOST_SCORED = {2: 200, 3: 40}
#: Repeats of one setting; the labelled scans stay those of the bench's seed.
REPEATS = 2
#: Every which scan of the pool is held back for the shortfall, and how many at most.
HELD_EVERY, HELD = 4, 30


def few_shot(bench: Bench, objectives: list[str] | None = None) -> Jobs:
    """Fine-tune with five labels, from scratch and from each objective (Table 3)."""

    def job(start: str) -> Row:
        weights = pretrain(bench, start)
        network = bench.fresh()
        network.load_state_dict(weights)
        row: Row = feature_health(network.eval(), bench.data, bench.data.test)
        tuned = fine_tuned(bench, weights, bench.five)
        return row | labels_row(tuned, bench) | pool_row(tuned, bench)

    return {start: bound(job, start) for start in starts(objectives)}


def frozen(bench: Bench, objectives: list[str] | None = None) -> Jobs:
    """Train the head alone with five labels, the backbone as each objective left it."""

    def job(start: str) -> Row:
        weights = pretrain(bench, start)
        tuned = fine_tuned(bench, weights, bench.five, {"freeze_backbone": True})
        return labels_row(tuned, bench) | pool_row(tuned, bench)

    return {start: bound(job, start) for start in starts(objectives)}


def quarter(bench: Bench, objectives: list[str] | None = None) -> Jobs:
    """Fine-tune with the labels of 25 % of the pool, likewise (Table 3)."""

    def job(start: str) -> Row:
        return labels_row(fine_tuned(bench, pretrain(bench, start), bench.quarter), bench)

    return {start: bound(job, start) for start in starts(objectives)}


def tuning_course(bench: Bench, objectives: list[str] | None = None) -> Jobs:
    """Follow the Dice on scans of the pool of other people over a fine-tuning with five labels."""

    def job(start: str) -> Row:
        every = max(1, bench.sizes.tune // POINTS)
        others = bench.data.of_others(bench.five)
        watch = HeadCurve(bench.data, every, others[:: max(1, len(others) // SCANS)])
        fine_tuned(bench, pretrain(bench, start), bench.five, {"validate_every": every}, watch)
        return {f"after {row['step']}": row["dice"] for row in watch.rows}

    return {start: bound(job, start) for start in starts(objectives)}


def pretraining_share(bench: Bench, objectives: list[str] | None = None) -> Jobs:
    """Fine-tune with five labels after pre-training on a share of the pool (6.1.5)."""

    def job(objective: str, share: float) -> Row:
        weights = pretrain(bench, objective, share=share)
        tuned = fine_tuned(bench, weights, bench.five)
        return labels_row(tuned, bench) | pool_row(tuned, bench)

    return {
        f"{objective} {share:.0%}": bound(job, objective, share)
        for objective in objectives or ["gemini-mip"]
        for share in SHARES
    }


def repeats(bench: Bench, objectives: list[str] | None = None) -> Jobs:
    """Train one setting twice with other random numbers and the same labels (Table 10)."""

    def job(number: int) -> Row:
        # Far from the seeds of the other experiments.
        other = dataclasses.replace(bench, seed=1000 * number + bench.seed, labels=bench.five)
        network = train(other, bench.five)
        row = labels_row(network, bench) | pool_row(network, bench)
        return row | deformation(network, bench.data)

    return {f"run {number}": bound(job, number) for number in range(1, REPEATS + 1)}


def backbones(bench: Bench, objectives: list[str] | None = None) -> Jobs:
    """Train U-Net and SwinUNETR on five labels, without and with GEMINI-Semi (Table 8)."""

    def job(backbone: str, objective: str) -> Row:
        network = train(bench, bench.five, {"network": {"backbone": backbone}}, objective=objective)
        row = labels_row(network, bench) | pool_row(network, bench)
        return row | {"parameters": count_parameters(network.backbone)}

    return {
        f"{backbone} {objective}": bound(job, backbone, objective)
        for backbone in ("unet", "swin-unetr")
        for objective in ("supervised", "gemini-semi")
    }


def heads(bench: Bench, objectives: list[str] | None = None) -> Jobs:
    """Train from scratch with five labels and heads of several widths: none is our default."""

    def job(width: int | None) -> Row:
        weights = pretrain(bench, SCRATCH)
        tuned = fine_tuned(bench, weights, bench.five, {"network": {"head_width": width}})
        return labels_row(tuned, bench) | pool_row(tuned, bench)

    # Half of the features, as in the paper, then the paper's number.
    widths = {"half": bench.sizes.width // 2, "16": 16, "default": None}
    return {name: bound(job, width) for name, width in widths.items()}


def rates(bench: Bench, objectives: list[str] | None = None) -> Jobs:
    """Train with the preset ``quick`` at several learning rates."""

    def job(rate: float) -> Row:
        settings = quick_settings(bench, rate)
        network = run(bench.fresh(settings.network), settings, bench.data.cohort(bench.five))
        row = labels_row(network, bench) | pool_row(network, bench)
        return row | deformation(network, bench.data)

    return {f"{rate:g}": bound(job, rate) for rate in RATES}


def shortfall(bench: Bench, objectives: list[str] | None = None) -> Jobs:
    """Say what five labels lack against all labels of the pool, and how much of it comes back.

    All arms make the same number of segmentation updates. Scores are of scans of the pool whose
    images and labels no arm sees.
    """
    data = bench.data
    of_any_seed = {case for labelled in data.five for case in labelled}
    others = [case for case in data.pool if case not in of_any_seed] or data.of_others(bench.five)
    held = others[::HELD_EVERY][:HELD]
    seen = [case for case in data.pool if case not in held]

    def job(labelled: list[str], objective: str, changes: dict[str, Any]) -> Row:
        # The deformer on half the resolution, as on a CPU.
        changes = changes | {"network": {"field_stride": 2}}
        settings = label_settings(bench, objective, bench.sizes.arms, changes)
        network = run(bench.fresh(settings.network), settings, data.cohort(labelled, seen))
        cases = head_dice(network, data, held)
        row = {"held_back": _mean(cases), "held_back_cases": cases, **errors(network, data, held)}
        return row | {"dice_seen": _mean(head_dice(network, data, bench.five))}

    arms = {
        "five labels": (bench.five, "supervised", {}),
        "all labels": (seen, "supervised", {}),
        "gemini-semi": (bench.five, "gemini-semi", {"shape_transfer": 0.5}),
        "shape transfer always": (bench.five, "gemini-semi", {"shape_transfer": 1.0}),
        "no shape transfer": (bench.five, "gemini-semi", {}),
        "segmentation weight 1": (
            bench.five,
            "gemini-semi",
            {"shape_transfer": 0.5, "weights": {"segmentation": 1.0}},
        ),
    }
    return {name: bound(job, *arm) for name, arm in arms.items()}


def widths(bench: Bench, objectives: list[str] | None = None) -> Jobs:
    """Train GEMINI-Semi with backbones of several widths (C.2)."""

    def job(width: int) -> Row:
        network = train(bench, bench.five, {"network": {"base_width": width}})
        row = labels_row(network, bench) | pool_row(network, bench)
        row |= deformation(network, bench.data)
        return row | {"parameters": count_parameters(network.backbone)}

    return {f"width {width}": bound(job, width) for width in WIDTHS}


def labels_row(network: GeminiNetwork, bench: Bench, name: str = "dice") -> Row:
    """Return the mean Dice on the test scans, and that of each scan."""
    cases = head_dice(network, bench.data, bench.data.test)
    return {name: _mean(cases), f"{name}_cases": cases}


def pool_row(network: GeminiNetwork, bench: Bench) -> Row:
    """Return the Dice on the five labelled scans, and on scans of the pool of other people.

    There are many more of the latter than test scans. Their images may have been learned from,
    their labels never.
    """
    data, others = bench.data, bench.data.of_others(bench.five)
    others = others[:: max(1, len(others) // MOST_SCORED[data.dimension])]
    return {
        "dice_seen": _mean(head_dice(network, data, bench.five)),
        "dice_pool": _mean(head_dice(network, data, others)),
        "scans_pool": len(others),
    }


def bound(job: Callable[..., Row], *arguments: Any) -> Callable[[], Row]:
    return lambda: job(*arguments)


def _mean(values: list[float]) -> float:
    return float(np.mean(values))
