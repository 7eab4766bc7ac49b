"""The hand-made labels of a study, exclusive or overlapping."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_gemini.errors import GeminiError, InputError, StudyError
from napari_gemini.study.files import Case, Role, Status
from napari_gemini.study.images import StudyImages
from napari_gemini.study.scheme import LabelScheme
from napari_gemini.study.strokes import FOLDER as STROKES
from napari_gemini.study.strokes import Frozen, StrokeLog
from napari_gemini.volumes.reading import read_labels
from napari_gemini.volumes.volume import Volume


class StudyLabels(StudyImages):
    """Labels of a study; see :class:`napari_gemini.study.study.Study`."""

    def cases_with(self, role: Role, *, labels: bool | None = None) -> list[Case]:
        """Return the cases of a role, on request only those with (or without) labels on disk."""
        return [
            case
            for case in self.cases
            if case.role == role
            and (labels is None or self._labels.exists(case, self.scheme) == labels)
        ]

    def has_labels(self, case_id: str) -> bool:
        """Whether a case has labels on disk (for overlapping schemes, every mask)."""
        return self._labels.exists(self._case(case_id), self.scheme)

    def teaching_cases(self) -> list[Case]:
        """Return the labelled cases to learn from: all with labels, save :meth:`is_blank` ones."""
        return [c for c in self.cases_with("labelled", labels=True) if not self.is_blank(c.id)]

    def is_blank(self, case_id: str) -> bool:
        """Whether labels on disk mark nothing and nobody has called the case done.

        Such a case was begun, or painted and emptied again: learned from, it would teach that the
        anatomy is not there. Marked as done, it says just that. Labels that cannot be read are not
        blank: who learns from them hears what is wrong.
        """
        if self._case(case_id).status == "done" or not self.has_labels(case_id):
            return False
        try:
            return not self._any_marked(case_id)
        except GeminiError:
            return False

    def _any_marked(self, case_id: str) -> bool:
        if not self.scheme.overlapping:
            labels = self.load_labels(case_id)
            return labels is not None and bool(labels.data.any())
        masks, ignored = self.load_masks(case_id), self.load_ignore(case_id)
        return any(mask is not None and bool(mask.any()) for mask in (masks, ignored))

    def labels_path(self, case_id: str) -> Path:
        """Return the file (for overlapping schemes, the folder) of a case's labels."""
        case = self._case(case_id)
        return (
            self.folder / "labels" / case.id if self.scheme.overlapping else self._labels.path(case)
        )

    def load_labels(self, case_id: str) -> Volume | None:
        """Read the labels of a case as one map of integers, None where there are none.

        Of an overlapping scheme the map shows the label with the highest value on top; it serves
        the eye, use :meth:`load_masks` for the rest.

        Raises
        ------
        StudyError
            If the file is damaged, off its image's grid, or holds labels outside the scheme.
        """
        case = self._case(case_id)
        image = self.outline(case_id)
        if not self.scheme.overlapping:
            labels = self._labels.read(case, image)
            if labels is not None:
                try:
                    self.scheme.check(labels.data, labels.name)
                except InputError as error:
                    raise StudyError(str(error)) from error
            return labels
        masks = self.load_masks(case_id)
        if masks is None:
            return None
        flat = np.zeros(image.shape, dtype=np.uint16)
        for value, mask in zip(self.scheme.values, masks, strict=True):
            flat[mask] = value
        ignored = self.load_ignore(case_id)
        if ignored is not None and self.scheme.ignore is not None:
            flat[ignored] = self.scheme.ignore
        return image.with_data(flat)

    def load_masks(self, case_id: str) -> NDArray[np.bool_] | None:
        """Read the labels of a case as masks (L, *shape), one per label in ascending order."""
        case = self._case(case_id)
        if not self._labels.exists(case, self.scheme):
            return None
        if not self.scheme.overlapping:
            labels = self.load_labels(case_id)
            assert labels is not None
            return np.stack([labels.data == value for value in self.scheme.values])
        image = self.outline(case_id)
        masks = [self._labels.read(case, image, n) for n in self._labels.mask_names(self.scheme)]
        return np.stack([mask.data != 0 for mask in masks if mask is not None])

    def load_ignore(self, case_id: str) -> NDArray[np.bool_] | None:
        """Read what nothing shall count: a mask (*shape), None where nothing is marked."""
        if self.scheme.ignore is None:
            return None
        case = self._case(case_id)
        if self.scheme.overlapping:
            labels = self._labels.read(case, self.outline(case_id), "ignore")
            mask = None if labels is None else labels.data != 0
        else:
            labels = self.load_labels(case_id)
            mask = None if labels is None else labels.data == self.scheme.ignore
        return mask if mask is not None and mask.any() else None

    def save_labels(
        self, case_id: str, labels: NDArray[Any], *, status: Status | None = None
    ) -> Path:
        """Write the labels of a case; the version before goes to the history.

        Parameters
        ----------
        case_id
            The case. An unlabelled one becomes labelled.
        labels : (*shape) int
            On the grid of the image.
        status
            How far the work has come; when not given, ``todo`` becomes ``started``.

        Returns
        -------
        Path
            The file.

        Raises
        ------
        InputError
            If the array is off the grid or holds labels outside the scheme.
        StudyError
            If another program works on the study, or the scheme is overlapping.
        EngineError
            If the disk is full; the old labels are untouched then.
        """
        if self.scheme.overlapping:
            raise StudyError(
                f"The labels of {self.name} may overlap: save one mask per label, not one map."
            )
        labels = np.asarray(labels)
        if labels.dtype.kind not in "iub":
            raise InputError(f"Labels of {case_id} have to be integers, not {labels.dtype}.")
        self.scheme.check(labels, f"The label map of {case_id}")
        image = self.outline(case_id)
        with self._writing():
            self._labels.write(self._case(case_id), labels, image)
            self._note_labels(case_id, status)
        return self._labels.path(self._case(case_id))

    # -- large maps, painted -------------------------------------------------------------------

    def log_strokes(self, case_id: str, saved: NDArray[Any] | None) -> StrokeLog:
        """Begin to log what is painted on a case, between two writes of its label file.

        Parameters
        ----------
        case_id
            A case of a scheme whose labels exclude each other.
        saved : (*shape) int
            What its label file holds, None where there is none. The log keeps and changes it.
        """
        case = self._case(case_id)
        if saved is None:
            saved = np.zeros(case.shape, np.uint8, order="F")
        scheme = self.scheme
        return StrokeLog(
            self._labels.strokes_folder(case),
            self._labels.path(case),
            saved if saved.flags.writeable else saved.copy(order="F"),
            lambda values: scheme.check(values, f"The label map of {case_id}"),
        )

    def save_frozen(self, case_id: str, log: StrokeLog, frozen: Frozen) -> None:
        """Write the label file of a case whose strokes are logged; raises as `save_labels`."""
        image = self.outline(case_id)
        with self._writing():
            self._labels.write(
                self._case(case_id),
                frozen.labels,
                image,
                before=lambda ready: log.note_packed(frozen, ready),
            )
            self._note_labels(case_id, None)

    def _recover(self) -> None:
        """Replay the strokes that a crash left beside their label files."""
        folder = self.folder / "labels" / STROKES
        if self.scheme.overlapping or not folder.is_dir():
            return
        for case in self.cases:
            log = self._labels.strokes_folder(case)
            if not log.is_dir():
                continue
            # Labels that cannot be read or written now keep their log for the next time.
            with contextlib.suppress(GeminiError, OSError):
                found = self._labels.left_painted(case)
                if found is not None:
                    labels, when = found
                    self.save_labels(case.id, labels)
                    path = self._labels.path(case)
                    os.utime(path, (when, when))
                shutil.rmtree(log)

    def save_masks(
        self,
        case_id: str,
        masks: NDArray[np.bool_],
        *,
        ignore: NDArray[np.bool_] | None = None,
        status: Status | None = None,
    ) -> Path:
        """Write the masks (L, *shape) of a case of an overlapping scheme, see :meth:`save_labels`.

        Returns
        -------
        Path
            The folder of the masks.
        """
        if not self.scheme.overlapping:
            raise StudyError(f"The labels of {self.name} exclude each other: save one map.")
        names = self._labels.mask_names(self.scheme)
        masks = np.asarray(masks)
        if len(masks) != len(names):
            raise InputError(
                f"{case_id} needs {len(names)} masks, one per label, not {len(masks)}."
            )
        planes = dict(zip(names, masks, strict=True))
        if ignore is not None:
            if self.scheme.ignore is None:
                raise InputError(f"The label scheme of {self.name} has no label to ignore.")
            planes["ignore"] = ignore
        image = self.outline(case_id)
        with self._writing():
            case = self._case(case_id)
            for name, mask in planes.items():
                self._labels.write(case, (np.asarray(mask) != 0).astype(np.uint8), image, name)
            self._note_labels(case_id, status)
        return self.folder / "labels" / case_id

    def load_each_mask(self, case_id: str) -> dict[int, NDArray[np.bool_]]:
        """Read the mask of every label, the ignore label included; empty where there is none."""
        case, image = self._case(case_id), self.outline(case_id)
        masks = {}
        for value, name in self._mask_files().items():
            labels = self._labels.read(case, image, name)
            found = np.zeros(image.shape, np.bool_) if labels is None else labels.data != 0
            masks[value] = found
        return masks

    def mask_name(self, value: int) -> str:
        """Return the file name, without suffix, of the mask of a label that may overlap."""
        return self._mask_files()[value]

    def _mask_files(self) -> dict[int, str]:
        extra = {} if self.scheme.ignore is None else {self.scheme.ignore: "ignore"}
        return {**self.scheme.file_names(), **extra}

    def save_mask(self, case_id: str, value: int, mask: NDArray[np.bool_]) -> Path:
        """Write one mask of a case whose labels may overlap; masks that it lacks become empty.

        Parameters
        ----------
        case_id
            The case. An unlabelled one becomes labelled.
        value
            The label.
        mask : (*shape) bool
            On the grid of the image.

        Returns
        -------
        Path
            The folder of the masks.

        Raises
        ------
        GeminiError
            As :meth:`save_labels`.
        """
        if not self.scheme.overlapping:
            raise StudyError(f"The labels of {self.name} exclude each other: save one map.")
        name, image = self.mask_name(value), self.outline(case_id)
        with self._writing():
            case = self._case(case_id)
            planes = dict.fromkeys(self._labels.mask_names(self.scheme)) | {name: mask}
            for each, given in planes.items():
                if given is not None:
                    self._labels.write(case, (given != 0).astype(np.uint8), image, each)
                elif not self._labels.path(case, each).is_file():
                    self._labels.write(case, np.zeros(image.shape, np.uint8), image, each)
            self._note_labels(case_id, None)
        return self.folder / "labels" / case_id

    def history(self, case_id: str, mask: str | None = None) -> list[Path]:
        """Return the earlier versions of a case's labels (or of one mask), oldest first."""
        return self._labels.history(self._case(case_id), mask)

    def restore_labels(self, case_id: str, version: Path, mask: str | None = None) -> None:
        """Bring an earlier version back; what it replaces goes to the history.

        Raises
        ------
        StudyError
            If `version` is not in the case's history.
        """
        if version not in self.history(case_id, mask):
            raise StudyError(f"{version} is no earlier version of the labels of {case_id}.")
        case, image = self._case(case_id), self.outline(case_id)
        labels = self._labels.read_version(version, image)
        with self._writing():
            self._labels.write(case, labels.data, image, mask)

    def _note_labels(self, case_id: str, status: Status | None) -> None:
        """Record in ``study.json`` what a save means for role and status."""
        case = self._case(case_id)
        role: Role = "labelled" if case.role == "unlabelled" else case.role
        reached: Status = status or ("started" if case.status == "todo" else case.status)
        if (role, reached) != (case.role, case.status):
            self._edit_case(case_id, role=role, status=reached)

    def set_scheme(self, scheme: LabelScheme) -> None:
        """Change the label scheme.

        Raises
        ------
        StudyError
            If labels on disk would no longer fit.
        """
        with self._writing():
            # Renaming, recolouring and adding never read a file: nothing on disk can mind.
            grown = scheme.allowed >= self.scheme.allowed and not scheme.overlapping
            for case in self._file.cases:
                if not self._labels.exists(case, self.scheme):
                    continue
                if scheme.overlapping != self.scheme.overlapping:
                    raise StudyError(
                        f"The case {case.id} has labels of another kind: overlapping and exclusive "
                        "labels need a study each."
                    )
                if not grown:
                    self._check_fits(case, scheme)
            self._replace(self._file.model_copy(update={"scheme": scheme}))

    def _check_fits(self, case: Case, scheme: LabelScheme) -> None:
        try:
            if scheme.overlapping:
                gone = set(self._labels.mask_names(self.scheme)) - set(
                    self._labels.mask_names(scheme)
                )
                if gone:
                    raise InputError(f"the new scheme lacks {', '.join(sorted(gone))}")
            else:
                labels = read_labels(self._labels.path(case))
                scheme.check(labels.data, labels.name)
        except InputError as error:
            raise StudyError(
                f"The labels of {case.id} do not fit the new scheme: {error}"
            ) from error
