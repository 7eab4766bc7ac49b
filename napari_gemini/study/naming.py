"""From what a user names (files, patterns, folders) to images, and from images to case ids."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable
from pathlib import Path

from napari_gemini.errors import InputError
from napari_gemini.volumes.reading import suffix_of

ID_PATTERN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")


def case_id(path: str | Path) -> str:
    """Return the id of the case that an image (or label) file belongs to.

    The file's name without its extension; what an id may not hold becomes an underscore.

    Raises
    ------
    InputError
        If nothing is left of the name.
    """
    path = Path(path)
    name = path.name[: len(path.name) - len(suffix_of(path))] if suffix_of(path) else path.name
    cleaned = re.sub(r"[^A-Za-z0-9._-]", "_", name)
    cleaned = re.sub(r"^[.-]+", "_", cleaned).rstrip(".")
    if not cleaned.strip("_"):
        raise InputError(f"{path} has a name that no case can be called by: rename the file.")
    return cleaned


def check_name(name: str, what: str) -> str:
    """Return `name` when it can be a file's name, a case's or a run's.

    Raises
    ------
    InputError
        If it holds anything but letters, digits, dot, dash and underscore.
    """
    if not ID_PATTERN.fullmatch(name):
        raise InputError(
            f"{name!r} cannot be the name of a {what}: use letters, digits, dot, dash and "
            "underscore, beginning with a letter or digit."
        )
    return name


def find_images(sources: Iterable[str | Path]) -> list[Path]:
    """Expand files, patterns and folders into a list of images.

    Parameters
    ----------
    sources
        Files; patterns such as ``scans/*_t1.nii.gz``; folders of images; folders of DICOM series;
        a folder whose subfolders are DICOM series.

    Returns
    -------
    list of Path
        Absolute paths, sorted within each source, each once.

    Raises
    ------
    InputError
        If a source names nothing.
    """
    found: dict[Path, None] = {}
    for source in sources:
        for path in _expand(source):
            # Links are kept: the user sees the names he gave.
            found[absolute(path)] = None
    return list(found)


def absolute(path: str | Path) -> Path:
    """Return an absolute path without ``..``, links not followed."""
    return Path(os.path.abspath(Path(path).expanduser()))


def _expand(source: str | Path) -> list[Path]:
    path = Path(source).expanduser()
    if path.is_dir():
        return _in_folder(path)
    if path.exists() or not glob.has_magic(str(source)):
        return [path]
    images = []
    for match in map(Path, sorted(glob.glob(str(path), recursive=True))):
        if match.is_dir():
            images += _in_folder(match)
        elif suffix_of(match):
            images.append(match)
    if not images:
        raise InputError(f"No image matches {source}: check the pattern.")
    return images


def _in_folder(folder: Path) -> list[Path]:
    """Return the images in a folder, or the folder itself when it is a DICOM series."""
    entries = sorted(e for e in folder.iterdir() if not e.name.startswith("."))
    files = [e for e in entries if e.is_file() and suffix_of(e) not in ("", ".dcm")]
    if files:
        return files
    if is_dicom_series(folder):
        return [folder]
    series = [e for e in entries if e.is_dir() and is_dicom_series(e)]
    if not series:
        raise InputError(f"The folder {folder} holds no image that this program reads.")
    return series


def is_dicom_series(folder: Path) -> bool:
    """Whether a folder's files look like DICOM slices."""
    for entry in sorted(folder.iterdir()):
        if not entry.is_file() or entry.name.startswith("."):
            continue
        if suffix_of(entry) == ".dcm":
            return True
        if not suffix_of(entry):
            with entry.open("rb") as stream:
                if stream.read(132)[128:] == b"DICM":
                    return True
    return False


def by_case(paths: Iterable[Path], what: str) -> dict[str, Path]:
    """Return the paths by case id.

    Parameters
    ----------
    paths
        Files (or DICOM folders).
    what
        What the message calls them: images or labels.

    Raises
    ------
    InputError
        If two files would be the same case (also when only upper and lower case differ, since
        some file systems make no difference).
    """
    result: dict[str, Path] = {}
    seen: dict[str, Path] = {}
    for path in paths:
        name = case_id(path)
        other = seen.setdefault(name.casefold(), path)
        if other != path:
            raise InputError(
                f"{other} and {path} would both be the {what} of the case {name}: rename one."
            )
        result[name] = path
    return result
