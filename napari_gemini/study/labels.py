"""Hand-made labels on disk: every save is atomic and keeps the version before."""

from __future__ import annotations

import contextlib
import os
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_gemini.errors import GeminiError, InputError, StudyError
from napari_gemini.study.files import Case
from napari_gemini.study.scheme import LabelScheme
from napari_gemini.volumes.atomic import TEMPORARY_PREFIX, atomic_path, explain_write_error
from napari_gemini.volumes.checks import check_labels_match
from napari_gemini.volumes.reading import read_labels
from napari_gemini.volumes.volume import Volume
from napari_gemini.volumes.writing import write_labels

HISTORY_LIMIT = 20
"""Earlier versions kept per file."""


@dataclass(frozen=True)
class LabelStore:
    """The ``labels`` folder of a study.

    Attributes
    ----------
    folder
        The folder.
    history_limit
        Earlier versions kept per file.
    """

    folder: Path
    history_limit: int = HISTORY_LIMIT

    def path(self, case: Case, mask: str | None = None) -> Path:
        """Return the label file of a case, or one of its masks (overlapping schemes)."""
        if mask is None:
            return self.folder / f"{case.id}{case.label_suffix}"
        return self.folder / case.id / f"{mask}{case.label_suffix}"

    def history_folder(self, case: Case, mask: str | None = None) -> Path:
        """Return the folder with the earlier versions of a file."""
        base = self.folder / ".history" / case.id
        return base if mask is None else base / mask

    def history(self, case: Case, mask: str | None = None) -> list[Path]:
        """Return the earlier versions of a file, oldest first."""
        folder = self.history_folder(case, mask)
        if not folder.is_dir():
            return []
        return sorted(
            p for p in folder.iterdir()
            if p.is_file() and not p.name.startswith(TEMPORARY_PREFIX)
        )  # fmt: skip

    def mask_names(self, scheme: LabelScheme) -> list[str]:
        """Return the names of the masks that a case of an overlapping scheme has."""
        return list(scheme.file_names().values())

    def exists(self, case: Case, scheme: LabelScheme) -> bool:
        """Whether a case has labels (all of its masks)."""
        if not scheme.overlapping:
            return self.path(case).is_file()
        return all(self.path(case, name).is_file() for name in self.mask_names(scheme))

    def read(self, case: Case, image: Volume, mask: str | None = None) -> Volume | None:
        """Read a file, checked against its image, or return None where there is none.

        Raises
        ------
        StudyError
            If the file is damaged or no longer on the grid of the image.
        """
        path = self.path(case, mask)
        if not path.is_file():
            return None
        try:
            return self.read_version(path, image)
        except GeminiError as error:
            raise StudyError(
                f"The labels of {case.id} cannot be used ({str(error).rstrip('.')}): an earlier "
                f"version may be in {self.history_folder(case, mask)}."
            ) from error

    def read_version(self, path: Path, image: Volume) -> Volume:
        """Read any version of a case's labels, checked against the image.

        Raises
        ------
        InputError
            If it is damaged or off the image's grid.
        """
        labels = read_labels(path)
        check_labels_match(image, labels)
        return labels

    def write(
        self, case: Case, labels: NDArray[Any], image: Volume, mask: str | None = None
    ) -> bool:
        """Write a file whose values are checked already, keeping the version before.

        Returns
        -------
        bool
            False when the file held just that and was left alone.

        Raises
        ------
        InputError
            If the array is not on the grid of the image, or the folder is read-only.
        EngineError
            If the disk is full. The old file is untouched then.
        """
        if labels.shape != image.shape:
            raise InputError(
                f"Labels of {case.id} have the shape {labels.shape}, its image {image.shape}: "
                "labels have to be on the grid of their image."
            )
        path = self.path(case, mask)
        if self._holds(path, labels):
            return False
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            kept = self._keep(path, self.history_folder(case, mask), case.label_suffix)
        except OSError as error:
            raise explain_write_error(error, path) from error
        try:
            write_labels(path, labels, image)
        except BaseException:
            if kept is not None:
                with contextlib.suppress(OSError):
                    kept.unlink()
            raise
        self._prune(self.history(case, mask))
        return True

    def sweep(self) -> None:
        """Remove what killed processes left half-written; only the study's owner may do this."""
        for leftover in self.folder.rglob(f"{TEMPORARY_PREFIX}*"):
            with contextlib.suppress(OSError):
                leftover.unlink()

    def _holds(self, path: Path, labels: NDArray[Any]) -> bool:
        """Whether a file holds exactly these labels (a damaged file does not)."""
        if not path.is_file():
            return False
        try:
            return bool(np.array_equal(read_labels(path).data, labels))
        except GeminiError:
            return False

    def _keep(self, path: Path, folder: Path, suffix: str) -> Path | None:
        """Give the current version a second name in the history; it costs no space."""
        if not path.is_file():
            return None
        folder.mkdir(parents=True, exist_ok=True)
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
        for number in range(1000):
            version = folder / f"{stamp}-{number:03d}{suffix}"
            try:
                os.link(path, version)
            except FileExistsError:
                continue
            except OSError:  # a file system without hard links
                with atomic_path(version) as temporary:
                    shutil.copy2(path, temporary)
            return version
        raise OSError(f"no free name in {folder}")

    def _prune(self, versions: list[Path]) -> None:
        for version in versions[: max(0, len(versions) - self.history_limit)]:
            with contextlib.suppress(OSError):
                version.unlink()
