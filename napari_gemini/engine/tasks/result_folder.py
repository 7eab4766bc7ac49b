"""Folders of results that appear whole or not at all.

A result is prepared in a temporary folder beside its final place and renamed when complete, so an
error, a full disk or Ctrl-C leaves either the former result or nothing, never half of one.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import tempfile
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from napari_gemini.errors import GeminiError, InputError
from napari_gemini.volumes.atomic import explain_write_error

_IMAGE_SUFFIXES = (
    ".nii.gz",
    ".nii",
    ".nrrd",
    ".nhdr",
    ".mha",
    ".mhd",
    ".png",
    ".tiff",
    ".tif",
)


def case_name(path: Path | str) -> str:
    """Return the name of a case: the file name without the suffixes of an image.

    Characters that a case id may not have (anything but letters, digits, ``.``, ``_`` and ``-``)
    become ``_``.
    """
    name = Path(path).name
    for suffix in _IMAGE_SUFFIXES:
        if name.lower().endswith(suffix) and len(name) > len(suffix):
            name = name[: -len(suffix)]
            break
    return re.sub(r"[^A-Za-z0-9._-]+", "_", name).lstrip(".") or "case"


def check_result_folder(final: Path, known: Collection[str]) -> None:
    """Refuse a place where a result folder could not be put without losing something.

    Parameters
    ----------
    final
        Where the result is to appear.
    known
        Names that a former result may have; any other content is the user's and is never replaced.

    Raises
    ------
    InputError
        If `final` is a file, is the current folder or one above it, holds foreign files, or if
        nothing may be written beside it.
    EngineError
        If the disk is full.
    """
    final = final.resolve()
    if final.exists() and not final.is_dir():
        raise InputError(f"{final} is a file; give the name of a folder for the results.")
    here = Path.cwd().resolve()
    if final == here or final in here.parents:
        raise InputError(
            f"{final} is the current folder or one above it; give a folder of its own as --out, "
            "because results replace the whole folder."
        )
    if final.is_dir():
        foreign = sorted({entry.name for entry in final.iterdir()} - set(known))
        if foreign:
            raise InputError(
                f"{final} holds other files ({foreign[0]}"
                f"{' and more' if len(foreign) > 1 else ''}); give a new or empty folder as --out, "
                "because results replace the whole folder."
            )
    parent = _nearest_existing(final.parent)
    if not parent.is_dir():
        raise InputError(f"{parent} is not a folder, so {final} cannot be made there.")
    _try_to_write(parent, final)


def check_result_file(final: Path) -> None:
    """Refuse a file that could not be written, before time is spent on its content.

    Raises
    ------
    InputError
        If it is a folder, or its folder is missing or read-only.
    """
    if final.is_dir():
        raise InputError(f"{final} is a folder; give the name of a file to write, as --out.")
    if not final.parent.is_dir():
        raise InputError(f"The folder {final.parent} does not exist; make it and try again.")
    _try_to_write(final.parent, final)


@contextmanager
def result_folder(final: Path, known: Collection[str]) -> Iterator[Path]:
    """Prepare a result folder beside its final place and publish it at the end.

    Parameters
    ----------
    final
        Where the result is to appear; a former result there is replaced as a whole.
    known
        Names that a former result may have (see :func:`check_result_folder`).

    Yields
    ------
    Path
        A fresh folder on the same file system, renamed to `final` when the block ends well and
        removed when it does not.

    Raises
    ------
    InputError
        If the folder is not to be used or is read-only.
    EngineError
        If the disk is full; nothing is left behind then.
    """
    final = final.resolve()
    check_result_folder(final, known)
    made = _make_parents(final.parent)
    temporary: Path | None = None
    try:
        temporary = Path(
            tempfile.mkdtemp(prefix=f".{final.name}.", suffix=".tmp", dir=final.parent)
        )
        yield temporary
        _publish(temporary, final)
        temporary, made = None, []
    except OSError as error:
        raise explain_write_error(error, final) from error
    except GeminiError as error:
        # The user knows the folder by its final name only.
        sentence = str(error).replace(str(temporary), str(final))
        raise type(error)(sentence) from error
    finally:
        with uninterrupted():
            if temporary is not None:
                shutil.rmtree(temporary, ignore_errors=True)
            for folder in reversed(made):
                _remove_if_empty(folder)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Hold Ctrl-C back for the few milliseconds in which files change places or are removed."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    pending: list[int] = []
    former = signal.signal(signal.SIGINT, lambda number, frame: pending.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, former)
    if pending:
        raise KeyboardInterrupt


def _publish(temporary: Path, final: Path) -> None:
    for path in temporary.rglob("*"):
        if path.is_file():
            _sync(path)
    _sync(temporary)
    os.chmod(temporary, 0o777 & ~_umask())
    with uninterrupted():
        if not final.exists():
            os.rename(temporary, final)
        else:
            former = Path(
                tempfile.mkdtemp(prefix=f".{final.name}.", suffix=".former", dir=final.parent)
            )
            os.rename(final, former / "result")
            try:
                os.rename(temporary, final)
            except OSError:
                os.rename(former / "result", final)
                former.rmdir()
                raise
            shutil.rmtree(former, ignore_errors=True)
        _sync(final.parent)


def _sync(path: Path) -> None:
    """Flush a file or folder to the disk, where the system can do that for it."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:  # folders cannot be opened on Windows
        return
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in {None, 9, 22}:  # EBADF, EINVAL: this kind of file cannot be synced
            raise
    finally:
        os.close(handle)


def _try_to_write(folder: Path, final: Path) -> None:
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise explain_write_error(error, final) from error


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _nearest_existing(folder: Path) -> Path:
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder


def _make_parents(folder: Path) -> list[Path]:
    """Make a folder with its parents and return those that were not there before."""
    missing = [entry for entry in (folder, *folder.parents) if not entry.exists()][::-1]
    folder.mkdir(parents=True, exist_ok=True)
    return missing


def _remove_if_empty(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError:
        return
