"""The job ``next-case``: which unlabelled case would add most, and why.

The labelled cases cover the study as centres cover points: the next one to label is the case
farthest from all of them (the greedy k-centre rule of Sener and Savarese, "Active learning for
convolutional neural networks: a core-set approach", ICLR 2018).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_gemini.engine.jobs import NextCaseJob
from napari_gemini.errors import StudyError
from napari_gemini.progress import Reporter, stop_if_cancelled
from napari_gemini.study.placements import image_stamp
from napari_gemini.study.study import Study
from napari_gemini.volumes.geometry import FloatArray
from napari_gemini.volumes.grid import image_to_grid
from napari_gemini.volumes.intensity import choose_intensity_mode, normalise

NO_MODEL = "none"
#: Cells along each axis that features are pooled into.
FEATURE_CELLS = 4
#: Cells along each axis that an image is pooled into before images are compared.
IMAGE_CELLS = {2: 48, 3: 24}
_ALIGNED = {"center": "by their centres of mass", "affine": "by an affine fit"}

Describe = Callable[[str], NDArray[np.float32]]
#: Descriptions of this process, by what was described and how.
_known: dict[tuple[str, ...], NDArray[np.float32]] = {}


@dataclass(frozen=True)
class Candidate:
    """An unlabelled case and how far the labelled ones are.

    Attributes
    ----------
    case
        Its id.
    distance
        To the nearest labelled case; without any, the mean distance to all other cases.
    nearest
        That labelled case, or None.
    """

    case: str
    distance: float
    nearest: str | None


def run(job: NextCaseJob, reporter: Reporter) -> dict[str, Any]:
    """Rank the unlabelled cases of a study, the least covered first.

    Returns
    -------
    dict
        ``case`` (the one to label), ``reason`` (a sentence), ``ranking`` (case, distance,
        nearest), ``measure`` (``features`` or ``images``) and ``model``.

    Raises
    ------
    StudyError
        If every case has labels.
    ModelError
        If the model cannot be used.
    """
    study = Study.open(job.study)
    pool = [case.id for case in study.cases if case.role != "test"]
    labelled = [case for case in pool if study.has_labels(case)]
    unlabelled = [case for case in pool if case not in set(labelled)]
    if not unlabelled:
        raise StudyError(f"Every case of {study.name} has labels: there is none left to suggest.")
    with_model = job.model != NO_MODEL
    describe = _by_features(study, job) if with_model else _by_image(study)
    vectors = _describe_all(study, pool, job.model, describe, reporter)
    distances = feature_distances(vectors) if with_model else image_distances(vectors)
    ranking = rank(pool, labelled, distances)
    name = Path(job.model).name
    return {
        "case": ranking[0].case,
        "reason": explain(ranking, len(labelled), name if with_model else None, study.file.align),
        "ranking": [vars(candidate) for candidate in ranking],
        "measure": "features" if with_model else "images",
        "model": name,
    }


def rank(pool: Sequence[str], labelled: Sequence[str], distances: FloatArray) -> list[Candidate]:
    """Order unlabelled cases by how poorly the labelled ones cover them.

    Parameters
    ----------
    pool
        Every case, in the order of `distances`.
    labelled
        Those with labels. Without any, the most typical case comes first instead: the one with
        the smallest mean distance to all others.
    distances
        (n, n) between cases.
    """
    covered = [i for i, case in enumerate(pool) if case in set(labelled)]
    free = [i for i, case in enumerate(pool) if case not in set(labelled)]
    if not covered:
        others = max(1, len(pool) - 1)
        typical = [Candidate(pool[i], float(distances[i].sum() / others), None) for i in free]
        return sorted(typical, key=lambda candidate: (candidate.distance, candidate.case))
    found = []
    for i in free:
        nearest = covered[int(np.argmin(distances[i, covered]))]
        found.append(Candidate(pool[i], float(distances[i, nearest]), pool[nearest]))
    return sorted(found, key=lambda candidate: (-candidate.distance, candidate.case))


def image_distances(vectors: Sequence[NDArray[np.float32]]) -> FloatArray:
    """Return 1 - correlation between images: (n, n) from vectors (m,)."""
    centred = np.stack(vectors).astype(np.float64)
    centred -= centred.mean(axis=1, keepdims=True)
    length = np.linalg.norm(centred, axis=1, keepdims=True)
    unit = centred / np.maximum(length, 1e-12)
    return np.clip(1 - unit @ unit.T, 0.0, 2.0)


def feature_distances(vectors: Sequence[NDArray[np.float32]]) -> FloatArray:
    """Return distances between pooled features: (n, n) from vectors (m,).

    Every entry counts in deviations over the cases, so that the distance is the root mean square
    difference in such deviations.
    """
    stacked = np.stack(vectors).astype(np.float64)
    deviation = stacked.std(axis=0)
    varies = deviation > 1e-6 * max(1e-12, float(np.abs(stacked).max()))
    scaled = (stacked[:, varies] - stacked[:, varies].mean(axis=0)) / deviation[varies]
    if not varies.any():
        return np.zeros((len(stacked), len(stacked)))
    squares = (scaled**2).sum(axis=1)
    gaps = squares[:, None] + squares[None] - 2 * scaled @ scaled.T
    distances = np.sqrt(np.maximum(gaps, 0.0) / scaled.shape[1])
    np.fill_diagonal(distances, 0.0)
    return np.asarray(distances, dtype=np.float64)


def explain(ranking: Sequence[Candidate], labelled: int, model: str | None, align: str) -> str:
    """Say in a sentence or two why the first of a ranking is suggested."""
    first = ranking[0]
    if model is None:
        basis = (
            f"No model was used: images were compared after alignment {_ALIGNED[align]} "
            "on the study grid."
        )
    else:
        basis = f"Compared by pooled features of {model}."
    if first.nearest is None:
        return (
            f"{first.case} is the most typical case: no case is labelled yet, and it resembles "
            f"all others most. {basis}"
        )
    count = "the labelled case" if labelled == 1 else f"the {labelled} labelled cases"
    middle = float(np.median([candidate.distance for candidate in ranking]))
    if model is None:
        numbers = (
            f"its correlation with the most similar one, {first.nearest}, is "
            f"{1 - first.distance:.2f}, where the median unlabelled case reaches {1 - middle:.2f}"
        )
    else:
        numbers = (
            f"its distance to the nearest one, {first.nearest}, is {first.distance:.2f} "
            f"deviations, where the median unlabelled case has {middle:.2f}"
        )
    return f"{first.case} is least covered by {count}: {numbers}. {basis}"


def pool_cells(values: NDArray[np.floating], cells: int) -> NDArray[np.float32]:
    """Average (..., *S) over at most `cells` blocks along each of the axes S.

    The leading axis stays: (C, *S) becomes (C, cells, ..., cells).
    """
    pooled = np.asarray(values, dtype=np.float32)
    for axis in range(1, pooled.ndim):
        size = pooled.shape[axis]
        count = min(cells, size)
        edges = np.linspace(0, size, count + 1).round().astype(int)
        total = np.add.reduceat(pooled, edges[:-1], axis=axis)
        widths = np.diff(edges).reshape([-1 if a == axis else 1 for a in range(pooled.ndim)])
        pooled = (total / widths).astype(np.float32)
    return pooled


def _describe_all(
    study: Study, cases: Sequence[str], model: str, describe: Describe, reporter: Reporter
) -> list[NDArray[np.float32]]:
    vectors = []
    for number, case in enumerate(cases):
        stop_if_cancelled(reporter)
        reporter.progress(number, len(cases), f"Comparing {case}")
        path = study.image_path(case)
        key = (str(path), image_stamp(path), str(study.case(case).volume_index),
               model, str(study.grid), study.file.align)  # fmt: skip
        if key not in _known:
            _known[key] = describe(case)
        vectors.append(_known[key])
    reporter.progress(len(cases), len(cases))
    return vectors


def _by_image(study: Study) -> Describe:
    def describe(case: str) -> NDArray[np.float32]:
        image = study.load_image(case)
        values = normalise(image.data, choose_intensity_mode(image))
        on_grid = image_to_grid(image, study.grid, study.placement(case), values)
        return pool_cells(on_grid[None], IMAGE_CELLS[study.dimension]).ravel()

    return describe


def _by_features(study: Study, job: NextCaseJob) -> Describe:
    """Return a function that pools a model's features: means and deviations of blocks."""
    from napari_gemini.engine.device import select_device
    from napari_gemini.engine.tasks.pair_matching import autocast_of
    from napari_gemini.engine.tasks.predict import check_dimension
    from napari_gemini.engine.tasks.serving import serve
    from napari_gemini.learning.prediction import features_on_grid, model_grid, place_scan
    from napari_gemini.learning.study_cohort import scan_on_grid

    device = select_device(job.device)
    serving = serve(job.model, study.dimension, device)
    model = serving.loaded
    assert model is not None
    own = study.grid == model_grid(model.card)

    def describe(case: str) -> NDArray[np.float32]:
        image = study.load_image(case)
        check_dimension(image, model)
        if own:
            grid, placement = study.grid, study.placement(case)
        else:
            grid, placement = place_scan(image, model.card)
        array = scan_on_grid(image, grid, placement, model.card.intensity_mode)
        features = features_on_grid(model, array, autocast_of(serving, device))
        values = features[0].cpu().numpy()
        means = pool_cells(values, FEATURE_CELLS)
        squares = pool_cells(values**2, FEATURE_CELLS)
        spread = np.sqrt(np.maximum(squares - means**2, 0.0))
        return np.concatenate([means.ravel(), spread.ravel()])

    return describe
