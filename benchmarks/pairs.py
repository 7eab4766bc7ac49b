"""Labels carried over by correspondence: Dice and folds of several ways on the same random pairs.

    python benchmarks/pairs.py STUDY MODEL LABELS --role test --pairs 50 --seed 0

Pairs of different cases of one role are drawn; the labels of the moving one are carried to the
fixed one and compared with its own. Every way ends in one displacement field that is applied to the
files, so that all are measured alike:

* ``none``: the scans as they lie on the study grid (centre of mass);
* ``demons``: SimpleITK's diffeomorphic demons between the two scans on that grid;
* ``refinement``: no model, the field of the pair is optimised from the identity;
* ``model``: the deformer of MODEL;
* ``model+refinement``: the same, optimised further.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import SimpleITK as sitk
import torch
from numpy.typing import NDArray

from napari_gemini.correspondence.jacobian import summarise_folds
from napari_gemini.engine.tasks.pair_inputs import PairInputs
from napari_gemini.engine.tasks.pair_matching import match
from napari_gemini.engine.tasks.pair_results import dice_per_label, field_of_view
from napari_gemini.engine.tasks.serving import serve
from napari_gemini.progress import SilentReporter
from napari_gemini.settings import SimilarityChoice
from napari_gemini.study.study import Study
from napari_gemini.volumes.atomic import write_json_atomic
from napari_gemini.volumes.fields import (
    DisplacementField,
    apply_field,
    moving_points,
    total_field,
)
from napari_gemini.volumes.grid import StudyGrid, image_to_grid, place_by_center_of_mass
from napari_gemini.volumes.intensity import normalise
from napari_gemini.volumes.reading import read_labels

DEMONS_ITERATIONS = 150
DEMONS_SIGMA = 1.5
WORST_SHARE = 0.3

Way = Callable[[PairInputs], DisplacementField]


def draw_pairs(names: list[str], count: int, seed: int) -> list[tuple[str, str]]:
    """Return random ordered pairs (moving, fixed) of different cases."""
    rng = np.random.default_rng(seed)
    drawn = [rng.choice(len(names), 2, replace=False) for _ in range(count)]
    return [(names[a], names[b]) for a, b in drawn]


def on_grid(
    inputs: PairInputs, grid: StudyGrid, displacement: Callable[..., NDArray[Any]]
) -> DisplacementField:
    """Return the total field of a displacement that was found on the study grid."""
    places = [place_by_center_of_mass(v, grid) for v in (inputs.fixed, inputs.moving)]
    scans = [
        image_to_grid(v, grid, p, normalise(v.data, "percentile"))
        for v, p in zip((inputs.fixed, inputs.moving), places, strict=True)
    ]
    return total_field(displacement(*scans), grid, *places, inputs.fixed, inputs.moving)


def no_registration(fixed: NDArray[Any], moving: NDArray[Any]) -> NDArray[Any]:
    """Return a zero displacement (d, *S)."""
    return np.zeros((fixed.ndim, *fixed.shape), dtype=np.float32)


def demons(fixed: NDArray[Any], moving: NDArray[Any]) -> NDArray[Any]:
    """Return the displacement (d, *S) in voxels of SimpleITK's diffeomorphic demons."""
    pair = [sitk.GetImageFromArray(a.astype(np.float32)) for a in (fixed, moving)]
    registration = sitk.DiffeomorphicDemonsRegistrationFilter()
    registration.SetNumberOfIterations(DEMONS_ITERATIONS)
    registration.SetStandardDeviations(DEMONS_SIGMA)
    field = sitk.GetArrayFromImage(registration.Execute(*pair))
    # SimpleITK counts the axes of an array from the last one.
    return np.moveaxis(field, -1, 0)[::-1]


def score(inputs: PairInputs, field: DisplacementField) -> dict[str, float]:
    """Return the mean Dice over labels and the fold percent of one pair."""
    assert inputs.labels is not None
    assert inputs.fixed_labels is not None
    carried = apply_field(field, inputs.labels, inputs.fixed, labels=True)
    values = dice_per_label(carried, inputs.fixed_labels.data).values()
    points = moving_points(field, inputs.fixed)
    folds = summarise_folds(points, field_of_view(points, inputs.moving), inputs.fixed.affine)
    numbers = folds.report()
    return {
        "dice": float(np.mean([v or 0.0 for v in values])),
        "fold_percent": float(numbers["fold_percent"]),
        "fold_percent_digital": float(numbers["fold_percent_digital"]),
    }


def summarise(rows: list[dict[str, float]]) -> dict[str, float]:
    """Average over pairs, with the mean of the worst 30 % of the Dice values."""
    dice = np.sort([row["dice"] for row in rows])
    means = {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}
    worst = dice[: max(1, round(WORST_SHARE * len(dice)))]
    return {**means, "dice_worst_30": float(worst.mean())}


def matched(model: str, dimension: int, refine: int, similarity: SimilarityChoice = "auto") -> Way:
    """Return the way of `correspond`: a model's field, or the identity, and its refinement."""
    device = torch.device("cpu")
    serving = serve(model, dimension, device)
    return lambda inputs: (
        match(
            inputs, serving, refine, None, device, SilentReporter(), "", similarity=similarity
        ).field
    )


def ways(
    model: str, study: Study, refine: int, similarity: SimilarityChoice = "correlation"
) -> dict[str, Way]:
    """Return every way by name."""
    return {
        "none": lambda inputs: on_grid(inputs, study.grid, no_registration),
        "demons": lambda inputs: on_grid(inputs, study.grid, demons),
        "refinement": matched("none", study.dimension, refine, similarity),
        "model": matched(model, study.dimension, 0),
        "model+refinement": matched(model, study.dimension, refine, similarity),
    }


def main() -> None:
    """Run all ways on all pairs and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("study", type=Path)
    parser.add_argument("model")
    parser.add_argument("labels", type=Path, help="folder of reference labels")
    parser.add_argument("--role", default="test", choices=["labelled", "unlabelled", "test"])
    parser.add_argument("--pairs", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--refine", type=int, default=100)
    parser.add_argument(
        "--similarity",
        choices=get_args(SimilarityChoice),
        default="correlation",
        help="how refinements compare scans; those of a study are in one contrast",
    )
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    study = Study.open(options.study)
    names = [case.id for case in study.cases if case.role == options.role]
    labels = {name: next(options.labels.glob(f"{name}.*")) for name in names}
    pairs = draw_pairs(names, options.pairs, options.seed)
    results: dict[str, dict[str, float]] = {}
    for name, way in ways(options.model, study, options.refine, options.similarity).items():
        rows, started = [], time.monotonic()
        for moving, fixed in pairs:
            scans = study.load_image(moving), study.load_image(fixed)
            known = read_labels(labels[moving]), read_labels(labels[fixed])
            inputs = PairInputs(*scans, labels=known[0], fixed_labels=known[1])
            rows.append(score(inputs, way(inputs)))
        seconds = (time.monotonic() - started) / len(pairs)
        results[name] = {**summarise(rows), "seconds": seconds}
        line = "  ".join(f"{key} {value:.4f}" for key, value in results[name].items())
        print(f"{name:18} {line}", flush=True)
    if options.out is not None:
        facts = {**vars(options), "out": None, "threads": torch.get_num_threads()}
        write_json_atomic(
            options.out, {"options": json.loads(json.dumps(facts, default=str)), "ways": results}
        )


if __name__ == "__main__":
    main()
