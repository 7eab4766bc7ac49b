"""From a study on disk to a cohort on the study grid."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_gemini.errors import InputError, StudyError, listed
from napari_gemini.learning.card import ModelCard
from napari_gemini.learning.cohort import Cohort, assemble
from napari_gemini.learning.validation import spread
from napari_gemini.progress import Reporter, stop_if_cancelled
from napari_gemini.settings import NetworkSettings, TrainSettings
from napari_gemini.study.scheme import IGNORE_INDEX, LabelScheme
from napari_gemini.study.study import Study
from napari_gemini.volumes.checks import check_image
from napari_gemini.volumes.grid import Placement, StudyGrid, image_to_grid, labels_to_grid
from napari_gemini.volumes.intensity import choose_intensity_mode, normalise
from napari_gemini.volumes.volume import Volume


@dataclass
class StudyCohort:
    """What training needs of a study.

    Attributes
    ----------
    cohort
        All scans that may be used, with the labels to learn from.
    held_back
        Targets of labelled cases kept for validation, by position in the cohort.
    intensity_mode
        How all scans were brought to [0, 1].
    """

    cohort: Cohort
    held_back: dict[int, Tensor]
    intensity_mode: str


def scan_on_grid(
    image: Volume, grid: StudyGrid, placement: Placement, mode: str
) -> NDArray[np.float32]:
    """Return a scan on a study grid with intensities in [0, 1].

    Raises
    ------
    InputError
        If its voxels are not finite or all equal, or lie outside of what the mode expects.
    """
    check_image(image)
    values = normalise(image.data, mode)
    if values.min() == values.max():
        raise InputError(
            f"All values of {image.name} lie outside of the range of scans of the kind '{mode}', "
            "which it is to be used with: export it like those, or choose another model."
        )
    return image_to_grid(image, grid, placement, values)


def common_intensity_mode(modes: Sequence[str]) -> str:
    """Choose one mode for all scans, so that they are treated alike.

    Parameters
    ----------
    modes
        What each scan asks for by itself.

    Returns
    -------
    str
        What all ask for, else ``ct`` where most do, else ``percentile``: 8-bit pictures can be
        read by their percentiles, but others not as 8-bit pictures.
    """
    counts = Counter(modes)
    if len(counts) == 1:
        return modes[0]
    return "ct" if 2 * counts["ct"] > len(modes) else "percentile"


def target_on_grid(study: Study, case: str, grid: StudyGrid, placement: Placement) -> NDArray[Any]:
    """Return the labels of a case as a training target on the grid.

    Returns
    -------
    ndarray
        int16 class indices (*S), or 0/1 masks (C, *S) where labels overlap, with
        :data:`IGNORE_INDEX` where the scheme's ignore label lies.
    """
    outline = study.outline(case)
    if not study.scheme.overlapping:
        labels = study.load_labels(case)
        assert labels is not None
        indices = study.scheme.to_indices(labels.data)
        return labels_to_grid(outline, grid, placement, indices)
    masks = study.load_masks(case)
    assert masks is not None
    ignored = study.load_ignore(case)
    target = masks.astype(np.int16)
    if ignored is not None:
        target[:, ignored] = IGNORE_INDEX
    return np.stack([labels_to_grid(outline, grid, placement, mask) for mask in target])


def load_study_cohort(
    study: Study, settings: TrainSettings, reporter: Reporter, device: torch.device
) -> StudyCohort:
    """Read every scan that training may use onto the study grid.

    Test cases are never read. ``settings.validation_cases`` labelled cases are held back.

    Raises
    ------
    StudyError
        If there are fewer than two scans or no labels.
    """
    cases = [case.id for case in study.cases if case.role != "test"]
    if len(cases) < 2:
        raise StudyError("Training needs at least two scans; add more images to the study.")
    labelled = [case.id for case in study.teaching_cases()]
    for case in study.cases_with("labelled", labels=True):
        if case.id not in labelled:
            reporter.log(
                f"{case.id} has no label yet and counts as unlabelled; mark it as done if nothing "
                "is to be labelled there.",
                "warning",
            )
    grid = study.grid
    images, mode = _read_scans(study, cases, reporter)
    ignored: dict[str, NDArray[np.bool_]] = {}
    targets: dict[str, NDArray[Any]] = {}
    for name in labelled:
        placement = study.placement(name)
        if settings.use_labels:
            targets[name] = target_on_grid(study, name, grid, placement)
        mask = study.load_ignore(name)
        if mask is not None:
            ignored[name] = labels_to_grid(study.outline(name), grid, placement, mask)
    held = _hold_back(list(targets), settings.validation_cases)
    kept = {name: target for name, target in targets.items() if name not in held}
    groups = {case.id: case.group for case in study.cases}
    cohort = assemble(cases, images, kept, ignored, groups).to(device)
    held_back = {
        cases.index(name): torch.from_numpy(targets[name].astype(np.int16)).to(device)
        for name in held
    }
    return StudyCohort(cohort, held_back, mode)


def _read_scans(
    study: Study, cases: list[str], reporter: Reporter
) -> tuple[list[NDArray[np.float32]], str]:
    """Return the scans on the study grid and the one mode that they were brought to [0, 1] in."""

    def read(name: str, mode: str | None) -> tuple[NDArray[np.float32], str]:
        image = study.load_image(name)
        mode = mode or choose_intensity_mode(image)
        return scan_on_grid(image, study.grid, study.placement(name), mode), mode

    scans = []
    for index, name in enumerate(cases):
        stop_if_cancelled(reporter)
        reporter.progress(index, len(cases), "reading scans")
        scans.append(read(name, None))
    reporter.progress(len(cases), len(cases), "reading scans")
    mode = common_intensity_mode([own for _, own in scans])
    # Which one it is turns out at the end: the few that differ are read once more.
    differing = [name for name, (_, own) in zip(cases, scans, strict=True) if own != mode]
    if differing:
        reporter.log(
            f"Not all scans have intensities of one kind; all are read as '{mode}', unlike what "
            f"{listed(differing)} would be by itself.",
            "warning",
        )
    again = {name: read(name, mode)[0] for name in differing}
    return [again.get(name, scan) for name, (scan, _) in zip(cases, scans, strict=True)], mode


def _hold_back(labelled: list[str], count: int) -> list[str]:
    if count == 0:
        return []
    if count >= len(labelled):
        raise StudyError(
            f"{count} labelled cases are to be held back for validation, but only "
            f"{len(labelled)} are labelled; hold back fewer."
        )
    return [labelled[i] for i in spread(list(range(len(labelled))), count)]


def fit_network(network: NetworkSettings, study: Study) -> NetworkSettings:
    """Return network settings with the dimension and the classes of a study."""
    return network.model_copy(
        update={
            "dimension": study.dimension,
            "classes": study.scheme.classes,
            "overlapping": study.scheme.overlapping,
        }
    )


def scheme_labels(scheme: LabelScheme) -> dict[int, str]:
    """Return label value -> name in the order of the head's channels."""
    names = dict(scheme.names)
    return names if scheme.overlapping else {0: "background", **names}


def describe_model(
    study: Study, settings: TrainSettings, mode: str, versions: dict[str, str]
) -> ModelCard:
    """Return the card of a model that is trained on a study.

    Without labels (``use_labels`` off) the card lists none: its head was never trained.
    """
    return ModelCard(
        network=settings.network,
        spacing_mm=list(study.grid.spacings),
        grid_shape=list(study.grid.shape),
        intensity_mode=mode,
        labels=scheme_labels(study.scheme) if settings.use_labels else {},
        objective=settings.objective,
        study=study.name,
        versions=versions,
        extra={"spacing_known": study.spacing_known, "align": study.file.align},
    )
