"""Labels to and from files of the user's own: import, export, and copies when saving fails."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtWidgets import QFileDialog

from napari_gemini.engine.jobs import LoadVolumeJob
from napari_gemini.errors import GeminiError, InputError
from napari_gemini.study.scheme import LabelScheme
from napari_gemini.volumes.checks import check_labels_match
from napari_gemini.volumes.reading import ITK_SUFFIXES, read_labels, suffix_of
from napari_gemini.volumes.volume import Volume
from napari_gemini.volumes.writing import write_labels
from napari_gemini.widgets.canvas.layers import layer_info
from napari_gemini.widgets.common.threads import in_thread
from napari_gemini.widgets.study.colours import label_name
from napari_gemini.widgets.study.edits import apply_labels
from napari_gemini.widgets.study.talk import Offer

if TYPE_CHECKING:
    from napari.layers import Labels

    from napari_gemini.widgets.study.case_view import CaseView
    from napari_gemini.widgets.study.labelling import Labelling

READS = "Label maps (*.nii *.nii.gz *.nrrd *.nhdr *.mha *.mhd *.png *.tif *.tiff)"
WRITES = "NIfTI (*.nii.gz *.nii);;NRRD (*.nrrd);;MetaImage (*.mha);;PNG (*.png);;TIFF (*.tif)"


# -- out -------------------------------------------------------------------------------------------


def export_labels(labelling: Labelling, path: Path) -> None:
    """Write the labels of the shown case to a file, as they are now, in the background.

    Raises
    ------
    StudyError
        If no case is shown.
    """
    view = labelling.shown()
    labels, outline = np.array(view.values()), view.outline

    def written(_: None) -> None:
        labelling.talk.tell("info", f"The labels of {view.case} were copied to {path}.")

    in_thread(
        lambda: write_labels(path, labels, outline),
        f"Writing {path.name}",
        written,
        lambda sentence: labelling.talk.tell("error", sentence),
    )


def keep_copy(labelling: Labelling, path: Path) -> None:
    """Write labels that cannot be saved to a place that can, and let go of them.

    Raises
    ------
    GeminiError
        If the copy cannot be written either; the labels stay in memory then.
    """
    view = labelling.view
    if view is None:
        return
    write_labels(path, np.asarray(view.values()), view.outline)
    labelling.give_up()
    labelling.talk.tell(
        "info",
        f"The labels of {view.case} are in {path}; the study has those saved before. Copy them "
        "back with 'From file' when the study can be written again.",
    )


def ask_for_copy(labelling: Labelling) -> None:
    """Ask where labels shall go that cannot be saved."""
    if labelling.view is None:
        return
    path = ask_for_path(f"{labelling.view.case} labels.nii.gz", "Keep a copy of the labels")
    if path is not None:
        labelling.talk.attempt(lambda: keep_copy(labelling, path))


def ask_for_path(name: str, title: str) -> Path | None:
    """Ask for a file to write; None when the user changed his mind."""
    chosen, _ = QFileDialog.getSaveFileName(None, title, name, WRITES)
    return Path(chosen) if chosen else None


# -- in --------------------------------------------------------------------------------------------


def import_labels(labelling: Labelling, path: Path) -> None:
    """Copy the labels of a file onto the shown case, as one step that undo takes back.

    Raises
    ------
    StudyError
        If no case is shown, or it is locked.
    """
    view = labelling.editable()
    scheme = labelling.study.scheme

    def arrived(labels: Volume) -> None:
        labelling.talk.attempt(lambda: _take(labelling, view, labels, path.name))

    def failed(sentence: str) -> None:
        labelling.talk.tell("error", sentence)

    def read() -> Volume:
        labels = read_labels(path)
        check_import(view.outline, labels, scheme)
        return labels

    if suffix_of(path) not in ITK_SUFFIXES:
        in_thread(read, f"Reading {path.name}", arrived, failed)
        return

    def loaded(values: dict[str, Any]) -> None:
        arrays = labelling.session.engine.arrays
        data = np.array(arrays.open(values["array"]))
        arrays.discard(values["array"])
        labels = Volume(data, values["affine"], values["spacing_known"], path)
        if labelling.talk.attempt(lambda: check_import(view.outline, labels, scheme)):
            arrived(labels)

    labelling.session.engine.run(
        LoadVolumeJob(path=path, labels=True),
        description=f"Reading {path.name}",
        on_result=loaded,
        on_error=failed,
    )


def check_import(outline: Volume, labels: Volume, scheme: LabelScheme) -> None:
    """Refuse labels that are not on the scan's grid or hold what the scheme lacks.

    Raises
    ------
    InputError
        Naming what is wrong.
    """
    check_labels_match(outline, labels)
    scheme.check(labels.data, labels.name)


def adopt_layer(labelling: Labelling, layer: Labels) -> None:
    """Copy the labels of another layer of the viewer onto the shown case.

    Raises
    ------
    GeminiError
        If no case is shown, it is locked, or the layer is of another shape or scheme.
    """
    view = labelling.editable()
    data = np.asarray(layer.data)
    if data.shape != view.grid.shape:
        raise InputError(
            f"The layer {layer.name} has the shape {data.shape} and the scan {view.case} "
            f"{view.grid.shape}: labels have to be on the grid of their scan."
        )
    info = layer_info(layer)
    if info is not None and not info.grid.same_place(view.grid):
        raise InputError(
            f"The layer {layer.name} lies elsewhere than the scan {view.case}: labels have to be "
            "on the grid of their scan."
        )
    labelling.study.scheme.check(data, f"The layer {layer.name}")
    labels = view.outline.with_data(view.grid.from_canvas(data))
    _take(labelling, view, labels, layer.name)


def _take(labelling: Labelling, view: CaseView, labels: Volume, source: str) -> None:
    if labelling.view is not view:
        raise InputError(f"{view.case} is no longer shown, so {source} was not copied to it.")
    put_labels(labelling, np.asarray(labels.data), source, f"the labels of {source}")


def put_labels(labelling: Labelling, labels: NDArray[Any], source: str, what: str) -> None:
    """Put labels on the shown case; where it has some already, ask how.

    Parameters
    ----------
    labelling
        Of the session.
    labels : (*shape) int
        On the grid of the scan's file.
    source
        Where they come from, noted in the layer's provenance.
    what
        What sentences call them, such as ``the draft from a``.

    Raises
    ------
    StudyError
        If no case is shown, or it is locked.
    """
    view = labelling.editable()
    masks = labelling.masks
    if masks is not None:
        labels = masks.own(labels)
        if not labels.any():
            name = label_name(labelling.study.scheme, masks.value)
            raise InputError(f"There is nothing of {name} in {source}: choose another label first.")

    def put(way: Any) -> None:
        labelling.talk.withdraw("labels")
        if labelling.view is not view:
            labelling.talk.tell("warning", f"{view.case} is no longer shown.")
            return
        count = apply_labels(view, labels, way)
        info = layer_info(view.labels)
        if info is not None:
            info.provenance.setdefault("copied_from", []).append(source)
        labelling.talk.tell(
            "info", f"{view.case} took {what} ({count} voxels changed); undo takes them back."
        )

    if not view.values().any() or not labelling.session.preferences.confirm_overwrite:
        # Filling takes nothing away, so it needs no question.
        put("fill")
        return
    labelling.talk.offer(
        "labels",
        Offer(
            f"{view.case} has labels already: how shall it take {what}?",
            (
                ("Fill unlabelled voxels", lambda: put("fill")),
                ("Replace all", lambda: put("replace")),
                ("Leave", lambda: labelling.talk.withdraw("labels")),
            ),
            "warning",
        ),
    )


def earlier_versions(labelling: Labelling) -> list[Path]:
    """Return the earlier versions of what is painted, oldest first."""
    view, study = labelling.view, labelling.study
    if view is None:
        return []
    if not study.scheme.overlapping:
        return study.history(view.case)
    if labelling.masks is not None:
        return study.history(view.case, study.mask_name(labelling.masks.value))
    names = [study.mask_name(value) for value in sorted(study.scheme.allowed - {0})]
    return [version for name in names for version in study.history(view.case, name)]


def restore_version(labelling: Labelling, version: Path) -> None:
    """Bring an earlier version of the shown case's labels back, as one step that undo takes back.

    Raises
    ------
    GeminiError
        If the case is locked for another reason than damaged labels, or the version is damaged.
    """
    view = labelling.shown()
    study = labelling.study
    if view.locked and not labelling.damaged:
        raise GeminiError(view.locked)
    if labelling.damaged:
        mask = version.parent.name if study.scheme.overlapping else None
        study.restore_labels(view.case, version, mask)
        labelling.reload()
        return
    labels = read_labels(version)
    check_import(view.outline, labels, study.scheme)
    masks = labelling.masks
    values = np.asarray(labels.data) if masks is None else masks.own(labels.data)
    count = apply_labels(view, values, "replace")
    labelling.talk.tell(
        "info", f"The earlier labels of {view.case} are back ({count} voxels changed)."
    )
