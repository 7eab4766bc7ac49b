"""Hand-made labels on disk: every save is atomic and keeps the version before."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_gemini.errors import GeminiError, InputError, StudyError
from napari_gemini.study import strokes
from napari_gemini.study.files import Case
from napari_gemini.study.scheme import LabelScheme
from napari_gemini.volumes.atomic import (
    TEMPORARY_PREFIX,
    atomic_path,
    explain_write_error,
)
from napari_gemini.volumes.checks import check_labels_match
from napari_gemini.volumes.reading import read_labels
from napari_gemini.volumes.volume import Volume
from napari_gemini.volumes.writing import write_labels

HISTORY_LIMIT = 30
"""Earlier versions kept per file."""
RECENT = 5
"""So many versions are all kept, however close together; older ones are thinned."""
SHORTEST_GAP = 30.0
"""Seconds between two older versions, at least; more, the older they are."""

_STAMP = "%Y%m%dT%H%M%S.%fZ"


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

    def strokes_folder(self, case: Case) -> Path:
        """Return the folder of what was painted since the label file was written."""
        return self.folder / strokes.FOLDER / case.id

    def write(
        self,
        case: Case,
        labels: NDArray[Any],
        image: Volume,
        mask: str | None = None,
        before: Callable[[Path], None] | None = None,
    ) -> bool:
        """Write a file whose values are checked already, keeping the version before.

        Parameters
        ----------
        case, labels, image, mask
            What, and where.
        before
            Called with the finished file before it takes its place; the labels are known to
            differ from those on disk then.

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
        if before is None and self._holds(path, labels):
            return False
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            kept = self._keep(path, self.history_folder(case, mask), case.label_suffix)
        except OSError as error:
            raise explain_write_error(error, path) from error
        try:
            if before is None:
                write_labels(path, labels, image)
            else:
                with atomic_path(path) as ready:
                    write_labels(ready, labels, image)
                    before(ready)
        except BaseException:
            if kept is not None:
                with contextlib.suppress(OSError):
                    kept.unlink()
            raise
        self._prune(self.history(case, mask))
        return True

    def left_painted(self, case: Case) -> tuple[NDArray[Any], float] | None:
        """Return what a crash left in the log of a case: its labels, and when they were painted.

        None where there is no log, or it belongs to other labels than those on disk.

        Raises
        ------
        GeminiError
            If the labels on disk cannot be read.
        """
        path = self.path(case)
        logs = strokes.pending(self.strokes_folder(case), path)
        if not logs:
            return None
        saved = read_labels(path).data if path.is_file() else np.zeros(case.shape, np.uint8)
        return strokes.replay(logs, saved), max(log.stat().st_mtime for log in logs)

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
        stamp = datetime.now(UTC).strftime(_STAMP)
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
        kept = thinned(versions)
        for version in set(versions) - set(kept[-self.history_limit :]):
            with contextlib.suppress(OSError):
                version.unlink()


def version_time(version: Path) -> datetime:
    """Return when the file that a version keeps was replaced, as its name tells."""
    try:
        return datetime.strptime(version.name.partition("-")[0], _STAMP).replace(tzinfo=UTC)
    except ValueError:
        return datetime.fromtimestamp(version.stat().st_mtime, UTC)


def thinned(versions: list[Path]) -> list[Path]:
    """Choose the versions that are worth keeping, so that an hour's work reaches back an hour.

    Labels save themselves every few seconds while somebody paints. The newest :data:`RECENT`
    versions stay; between older ones lie at least :data:`SHORTEST_GAP` seconds and a third of
    their age.

    Parameters
    ----------
    versions
        Files of the history, oldest first.

    Returns
    -------
    list of Path
        Those to keep, oldest first.
    """
    if len(versions) <= RECENT:
        return versions
    newest = version_time(versions[-1])
    kept: list[Path] = []
    last: datetime | None = None
    for version in versions[:-RECENT]:
        time = version_time(version)
        gap = max(SHORTEST_GAP, (newest - time).total_seconds() / 3)
        if last is None or (time - last).total_seconds() >= gap:
            kept.append(version)
            last = time
    return kept + versions[-RECENT:]
