"""The folder of a study: what ``study.json`` says, how it is changed, and who may write."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from napari_gemini.errors import InputError
from napari_gemini.study.files import (
    Case,
    Role,
    Status,
    StudyFile,
    read_study_file,
    write_study_file,
)
from napari_gemini.study.labels import LabelStore
from napari_gemini.study.lock import FolderLock, is_held, is_ours
from napari_gemini.study.naming import absolute
from napari_gemini.study.scheme import LabelScheme
from napari_gemini.volumes.grid import StudyGrid

LOCK_FILE = "study.lock"

# The lock file keeps other processes out; within this one, writes take turns.
_one_thread = threading.RLock()


class StudyFolder:
    """Contents and lock of a study; see :class:`napari_gemini.study.study.Study`."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = absolute(folder)
        self._file = read_study_file(self.folder)
        self._labels = LabelStore(self.folder / "labels")

    def reload(self) -> None:
        """Read ``study.json`` again, since another program may have changed it."""
        self._file = read_study_file(self.folder)

    @property
    def name(self) -> str:
        """Name of the folder."""
        return self.folder.name

    @property
    def dimension(self) -> int:
        """2 or 3."""
        return self._file.dimension

    @property
    def spacing_known(self) -> bool:
        """False when lengths are pixels, since no image says how large its pixels are."""
        return self._file.spacing_known

    @property
    def scheme(self) -> LabelScheme:
        """The labels."""
        return self._file.scheme

    @property
    def grid(self) -> StudyGrid:
        """The study grid."""
        return self._file.grid.to_grid()

    @property
    def cases(self) -> list[Case]:
        """All cases, in the order of the file."""
        return [case.model_copy() for case in self._file.cases]

    @property
    def file(self) -> StudyFile:
        """Everything in ``study.json`` (a copy)."""
        return self._file.model_copy(deep=True)

    def case(self, case_id: str) -> Case:
        """Return one case.

        Raises
        ------
        InputError
            If there is none of that name.
        """
        return self._case(case_id).model_copy()

    def _case(self, case_id: str) -> Case:
        for case in self._file.cases:
            if case.id == case_id:
                return case
        raise InputError(f"The study {self.name} has no case {case_id!r}: check the name.")

    # ------------------------------------------------------------------ changes

    def set_case(
        self,
        case_id: str,
        *,
        role: Role | None = None,
        status: Status | None = None,
        person: str | None = None,
    ) -> None:
        """Change role, status or person of a case; what is None stays."""
        changes = {"role": role, "status": status, "person": person}
        with self._writing():
            self._edit_case(case_id, **{k: v for k, v in changes.items() if v is not None})

    def _edit_case(self, case_id: str, **changes: Any) -> None:
        cases = [
            Case.model_validate(case.model_dump() | changes) if case.id == case_id else case
            for case in self._file.cases
        ]
        self._replace(self._file.model_copy(update={"cases": cases}))

    def _replace(self, content: StudyFile) -> None:
        write_study_file(self.folder, content)
        self._file = content

    # ------------------------------------------------------------------ locking

    @contextmanager
    def lock(self, purpose: str = "working on the study") -> Iterator[None]:
        """Be the only writer as long as the block runs; ``study.json`` is read again at its start.

        Raises
        ------
        LockedError
            If another program works on the study.
        """
        with FolderLock(self.folder / LOCK_FILE, purpose):
            self.reload()
            self._labels.sweep()
            self._recover()
            yield

    def _recover(self) -> None:
        """Put in order what a program left that died while it wrote; called under the lock."""

    @property
    def writable(self) -> bool:
        """Whether nobody else works on the study right now."""
        path = self.folder / LOCK_FILE
        return is_ours(path) or not is_held(path)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Hold the lock for a write, unless this process holds it anyway."""
        with _one_thread:
            if is_ours(self.folder / LOCK_FILE):
                self.reload()
                yield
            else:
                with self.lock("saving"):
                    yield
