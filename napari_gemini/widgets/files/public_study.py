"""Two public brain MR scans, fetched once and checked by their sha256."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

from napari_gemini.errors import InputError
from napari_gemini.resources import resources_folder
from napari_gemini.study.study import Study
from napari_gemini.widgets.files.readers import LayerData
from napari_gemini.widgets.files.samples import _open, sample_folder

#: Names, addresses, hashes and credit of the scans.
REGISTRY = "public-study.json"


def read_registry(path: Path | None = None) -> dict[str, Any]:
    """Read which files make the public study; ``resources/public-study.json`` unless given."""
    path = resources_folder() / REGISTRY if path is None else path
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def public_study(parent: Path | None = None, registry: Path | None = None) -> Study:
    """Return the public study, fetching what is not there yet.

    Parameters
    ----------
    parent
        Folder to keep it in; :func:`.sample_folder` unless given.
    registry
        Another list of files.

    Raises
    ------
    InputError
        If a file cannot be fetched or is not the file it should be; nothing wrong is kept.
    """
    import pooch

    content = read_registry(registry)
    folder = (sample_folder() if parent is None else parent) / content["name"]
    if (folder / "study" / "study.json").is_file():
        return Study.open(folder / "study")
    images = folder / "images"
    for item in content["files"]:
        try:
            pooch.retrieve(
                item["url"],
                known_hash=f"sha256:{item['sha256']}",
                fname=item["name"],
                path=images,
                progressbar=_Bar(item["name"]),
            )
        except (OSError, ValueError) as error:
            raise InputError(
                f"{item['name']} cannot be fetched from {item['url']} ({error}); check the "
                f"connection and try again, or put the file into {images} by hand."
            ) from error
    return Study.create(folder / "study", [images])


def open_brain_pair(**_: Any) -> list[LayerData]:
    """Fetch the public scans in the background and open them in the Study dock."""
    return _open(public_study)


class _Bar:
    """Shows a download in napari's activity list; pooch asks for this shape.

    Parameters
    ----------
    name
        Of the file.

    Attributes
    ----------
    total
        Its size in bytes; pooch fills it in from what the server says.
    """

    def __init__(self, name: str) -> None:
        self.total = 0
        self._name, self._done, self._percent = name, 0, -1

    def update(self, count: int) -> None:
        """Note `count` more bytes."""
        self._done += count
        percent = min(100, 100 * self._done // max(1, self.total))
        if percent // 10 != self._percent // 10:
            self._percent = percent
            _status(f"Fetching {self._name}: {percent} %")

    def reset(self) -> None:
        """Start to count anew; pooch calls it at the end."""
        self._done = 0

    def close(self) -> None:
        """Say that the file is there."""
        _status(f"{self._name} is there")


def _status(text: str) -> None:
    """Write to the status line from whatever thread this is."""
    import napari
    from qtpy.QtCore import QCoreApplication
    from superqt.utils import ensure_main_thread

    @ensure_main_thread
    def write() -> None:
        viewer = napari.current_viewer()
        # The window may have been closed meanwhile.
        with contextlib.suppress(RuntimeError):
            if viewer is not None:
                viewer.status = text

    if QCoreApplication.instance() is not None:
        write()
