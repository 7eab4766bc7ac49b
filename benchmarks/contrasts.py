"""Pairs of random anatomies in one contrast and in two: what a general model adds to refinement.

    python -m benchmarks.contrasts general-2d --dimension 2 --groups 150
    python -m benchmarks.contrasts general-3d --dimension 3 --groups 10

Groups are drawn as for the training of the general models, with another seed. Each gives one pair
of scans in the same contrast and, where it was taken in two, one pair in unlike contrasts. The true
map between the scans is known, so errors are those of landmarks, in voxels (the scans have 1 mm),
over those that both views hold; Dice is that of the structures.
"""

from __future__ import annotations

import argparse
from itertools import combinations
from pathlib import Path
from typing import get_args

import numpy as np
import torch

from benchmarks.pairs import Way, matched, no_registration, on_grid, score
from napari_gemini.engine.tasks.pair_inputs import PairInputs
from napari_gemini.evaluation.statistics import paired_bootstrap
from napari_gemini.phantom.cohort import PhantomCase
from napari_gemini.phantom.random_cohort import RandomGroup, random_groups
from napari_gemini.settings import SimilarityChoice
from napari_gemini.volumes.atomic import write_json_atomic
from napari_gemini.volumes.fields import DisplacementField, map_points
from napari_gemini.volumes.grid import choose_grid

#: Sizes that the general models were trained on.
SIZES = {2: 96, 3: 48}
ALIKE, UNLIKE = "one contrast", "two contrasts"
ALONE, GUIDED = "refinement", "model+refinement"
Rows = dict[str, dict[str, list[dict[str, float]]]]


def pairs_of(group: RandomGroup) -> dict[str, tuple[PhantomCase, PhantomCase]]:
    """Return the first pair in one contrast and the first in two, where there is one."""
    found: dict[str, tuple[PhantomCase, PhantomCase]] = {}
    for moving, fixed in combinations(group.cases, 2):
        same = group.contrasts[moving.id] == group.contrasts[fixed.id]
        found.setdefault(ALIKE if same else UNLIKE, (moving, fixed))
    return found


def unregistered(inputs: PairInputs) -> DisplacementField:
    """Return the field of scans that are placed by their centre of mass alone."""
    return on_grid(inputs, choose_grid([inputs.fixed, inputs.moving]), no_registration)


def measure(
    group: RandomGroup, moving: PhantomCase, fixed: PhantomCase, way: Way
) -> dict[str, float]:
    """Return landmark error, Dice and folds of one way on one pair."""
    inputs = PairInputs(moving.image, fixed.image, moving.labels, fixed.labels)
    field = way(inputs)
    predicted = map_points(field, group.truth.landmarks(fixed.id).points)
    errors = group.truth.target_registration_error(fixed.id, moving.id, predicted)
    return {"error": float(np.nanmean(errors)), **score(inputs, field)}


def print_rows(rows: Rows) -> None:
    """Print means, and what the model changes with its 95 % interval."""
    for kind, ways in rows.items():
        print(f"\n{kind}: {len(ways[ALONE])} pairs")
        if len(ways[ALONE]) < 2:
            print("too few to compare; draw more groups")
            continue
        for way, values in ways.items():
            means = {key: np.mean([value[key] for value in values]) for key in values[0]}
            print(f"{way:18}", "  ".join(f"{key} {mean:.3f}" for key, mean in means.items()))
        for key in ("error", "dice"):
            change = paired_bootstrap(
                [value[key] for value in ways[GUIDED]], [value[key] for value in ways[ALONE]]
            )
            low, high = change.low, change.high
            print(f"{GUIDED} - {ALONE}, {key}: {change.mean:+.3f} ({low:+.3f} to {high:+.3f})")


def main() -> None:
    """Measure one model."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--dimension", type=int, choices=[2, 3], default=3)
    parser.add_argument("--groups", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1, help="0 is that of the training")
    parser.add_argument("--refine", type=int, default=100)
    parser.add_argument("--similarity", choices=get_args(SimilarityChoice), default="auto")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    ways: dict[str, Way] = {
        "none": unregistered,
        ALONE: matched("none", options.dimension, options.refine, options.similarity),
        "model": matched(options.model, options.dimension, 0),
        GUIDED: matched(options.model, options.dimension, options.refine, options.similarity),
    }
    rows: Rows = {kind: {way: [] for way in ways} for kind in (ALIKE, UNLIKE)}
    for group in random_groups(
        options.groups, 4, options.dimension, SIZES[options.dimension], options.seed
    ):
        for kind, (moving, fixed) in pairs_of(group).items():
            for name, way in ways.items():
                rows[kind][name].append(measure(group, moving, fixed, way))
    print_rows(rows)
    if options.out is not None:
        write_json_atomic(options.out, rows)


if __name__ == "__main__":
    main()
