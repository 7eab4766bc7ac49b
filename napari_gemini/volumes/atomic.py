"""Files that appear whole or not at all.

A file is written beside its final name, flushed to disk and renamed over it, and the folder is
flushed too, so that a crash, a full disk or Ctrl-C at any moment leaves the old file or the new.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from napari_gemini.errors import EngineError, GeminiError, InputError

TEMPORARY_PREFIX = ".writing-"

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}


@contextmanager
def atomic_path(final: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `final`; on success it takes the place of `final`.

    Parameters
    ----------
    final
        The file to write. Its folder has to exist. The temporary name ends like the final one, so
        libraries that choose the format by suffix do the right thing.

    Yields
    ------
    Path
        Where to write. Nothing needs to be there yet; something has to be there at the end.

    Raises
    ------
    InputError
        If the folder is missing or cannot be written to.
    EngineError
        If the disk is full or breaks. The old file, if any, is untouched in every case.
    """
    final = Path(final)
    temporary = final.with_name(f"{TEMPORARY_PREFIX}{secrets.token_hex(4)}-{final.name}")
    try:
        if not final.parent.is_dir():
            raise InputError(f"The folder {final.parent} does not exist; make it and try again.")
        try:
            yield temporary
            flush_file(temporary)
            os.replace(temporary, final)
            flush_folder(final.parent)
        except OSError as error:
            raise explain_write_error(error, final) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def explain_write_error(error: OSError, final: Path) -> GeminiError:
    """Say in one sentence why `final` could not be written and what to do about it."""
    if error.errno in _FULL:
        return EngineError(
            f"The disk is full: {final} could not be written and nothing was changed; "
            "free some space and try again."
        )
    if error.errno in _FORBIDDEN:
        return InputError(
            f"{final} cannot be written because its folder is read-only; "
            "choose another folder or change its permissions."
        )
    if error.errno == errno.EISDIR or final.is_dir():
        return InputError(f"{final} is a folder, not a file; choose another name.")
    reason = error.strerror or str(error) or type(error).__name__
    return EngineError(f"{final} could not be written ({reason}); check the disk and try again.")


def make_room(path: Path, size: int) -> None:
    """Make sure that a file of `size` bytes fits at `path`, where nothing stays.

    For libraries that do not survive a full disk (HDF5 prints pages and may crash at exit).

    Raises
    ------
    OSError
        If it does not fit.
    """
    try:
        with path.open("wb") as handle:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(handle.fileno(), 0, size)
            else:
                handle.write(bytes(size))
    finally:
        path.unlink(missing_ok=True)


def write_bytes_atomic(path: str | Path, content: bytes) -> None:
    """Write bytes to a file, whole or not at all; see :func:`atomic_path` for what it raises."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def write_text_atomic(path: str | Path, text: str) -> None:
    """Write UTF-8 text as it is, whole or not at all; raises as :func:`atomic_path`."""
    write_bytes_atomic(path, text.encode("utf-8"))


def write_json_atomic(path: str | Path, content: Any) -> None:
    """Write JSON (indented, UTF-8, no NaN), whole or not at all.

    Raises
    ------
    ValueError
        If the content holds NaN or infinity, which JSON cannot express.
    """
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
    write_text_atomic(path, text + "\n")


def flush_file(path: Path) -> None:
    """Make the content of a file reach the disk."""
    # Opened for writing since Windows refuses to flush a read-only handle.
    with open(path, "r+b") as handle:
        os.fsync(handle.fileno())


def flush_folder(folder: Path) -> None:
    """Make a folder's entries (a rename, say) reach the disk, where the system can."""
    if os.name == "nt":
        return
    # Some network file systems cannot flush a folder; the rename itself has happened by now.
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
