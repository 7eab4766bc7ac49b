"""Arrays between two processes: ``.npy`` files in a private folder, mapped and never copied.

The client makes the folder and removes it; the child writes into it and removes it too when its
client is gone, so nothing stays behind whichever of the two dies.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from napari_gemini.errors import EngineError

if TYPE_CHECKING:
    import numpy as np


class ArrayRef(BaseModel):
    """Where an array lies, as it travels in a message."""

    npy: str
    shape: list[int]
    dtype: str


class ArrayExchange:
    """A private folder of arrays.

    Parameters
    ----------
    folder
        A folder that another process made and owns; none makes a new one, which is removed by
        :meth:`close` and at the latest when the interpreter ends.

    Raises
    ------
    EngineError
        If no folder can be made.
    """

    def __init__(self, folder: str | Path | None = None) -> None:
        self._finalizer: weakref.finalize[Any, ArrayExchange] | None = None
        if folder is not None:
            self.folder = Path(folder)
            return
        try:
            self.folder = Path(tempfile.mkdtemp(prefix="napari-gemini-"))
        except OSError as error:
            raise EngineError(
                f"No temporary folder can be made ({error.strerror}); free some disk space or set "
                "TMPDIR to a folder with room."
            ) from error
        self._finalizer = weakref.finalize(self, shutil.rmtree, self.folder, ignore_errors=True)

    def put(self, array: np.ndarray) -> ArrayRef:
        """Write an array and return what the other process needs to open it.

        Raises
        ------
        EngineError
            If the disk is full.
        TypeError
            If the array holds Python objects.
        """
        import numpy as np

        if array.dtype.hasobject:
            raise TypeError("arrays of Python objects are not exchanged")
        path = self.folder / f"{uuid.uuid4().hex}.npy"
        try:
            with path.open("xb") as stream:
                np.lib.format.write_array(stream, np.asarray(array), allow_pickle=False)
        except OSError as error:
            path.unlink(missing_ok=True)
            raise EngineError(
                f"The temporary folder {self.folder} cannot hold the array ({error.strerror}); "
                "free some disk space or set TMPDIR to a folder with room."
            ) from error
        return ArrayRef(npy=str(path), shape=list(array.shape), dtype=str(array.dtype))

    def discard(self, ref: ArrayRef | dict[str, Any]) -> None:
        """Delete an array that is no longer needed; mapped copies stay valid on POSIX."""
        path = self._path_of(ref)
        try:
            path.unlink(missing_ok=True)
        except PermissionError:  # pragma: no cover - Windows keeps mapped files
            return

    def open(self, ref: ArrayRef | dict[str, Any]) -> np.ndarray:
        """Map an array of this folder read-only.

        Raises
        ------
        EngineError
            If the array is gone, lies elsewhere or is not what the reference says.
        """
        import numpy as np

        path = self._path_of(ref)
        try:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise EngineError(
                f"The array {path.name} cannot be opened ({error}); ask the engine again."
            ) from error
        expected = ArrayRef.model_validate(ref)
        if list(array.shape) != expected.shape or str(array.dtype) != expected.dtype:
            raise EngineError(f"The array {path.name} has changed; ask the engine again.")
        return array

    def _path_of(self, ref: ArrayRef | dict[str, Any]) -> Path:
        path = Path(ArrayRef.model_validate(ref).npy)
        if os.path.realpath(path.parent) != os.path.realpath(self.folder):
            raise EngineError(f"{path} is no array of this engine.")
        return path

    def close(self) -> None:
        """Remove the folder if it was made here."""
        if self._finalizer is not None:
            self._finalizer()

    def remove(self) -> None:
        """Remove the folder whoever made it; for a child whose client is gone."""
        shutil.rmtree(self.folder, ignore_errors=True)


_current: ArrayExchange | None = None


def exchange() -> ArrayExchange:
    """Return this process's folder of arrays; outside a child it is made on first use."""
    global _current
    if _current is None:
        _current = ArrayExchange()
    return _current


def use_exchange(folder: str | Path) -> ArrayExchange:
    """Use the folder that a client made; called once by the child."""
    global _current
    _current = ArrayExchange(folder)
    return _current
