"""How each scan lies in the study, worked out once and kept in ``placements.json``."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import numpy as np

from napari_gemini.errors import GeminiError
from napari_gemini.volumes.atomic import write_json_atomic
from napari_gemini.volumes.grid import Placement

PLACEMENTS_FILE = "placements.json"


class PlacementCache:
    """Placements by case id, in memory and on disk.

    The file is a cache: a missing or damaged one is worked out anew, and a read-only study folder
    only costs that work again next time.

    Parameters
    ----------
    folder
        The study folder.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / PLACEMENTS_FILE
        self._known: dict[str, Placement] = {}

    def get(self, case: str, image: str) -> Placement | None:
        """Return the placement of a case, or None when it is not known for this image.

        Parameters
        ----------
        case
            Case id.
        image
            What tells one version of the image from another, see :func:`image_stamp`.
        """
        key = f"{case}:{image}"
        if key not in self._known:
            self._known |= self._read()
        return self._known.get(key)

    def put(self, placements: dict[tuple[str, str], Placement]) -> None:
        """Add placements, keyed by case id and image stamp, and write the file."""
        known = self._read() | self._known
        for (case, image), placement in placements.items():
            known = {k: v for k, v in known.items() if k.rpartition(":")[0] != case}
            known[f"{case}:{image}"] = placement
        self._known = known
        document = {
            key: {"matrix": placement.matrix.tolist(), "method": placement.method}
            for key, placement in sorted(known.items())
        }
        with contextlib.suppress(GeminiError):
            write_json_atomic(self._path, document)

    def _read(self) -> dict[str, Placement]:
        try:
            document = json.loads(self._path.read_text(encoding="utf-8"))
            return {
                key: Placement(np.array(entry["matrix"], dtype=np.float64), str(entry["method"]))
                for key, entry in document.items()
            }
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return {}


def image_stamp(path: Path) -> str:
    """Return size and modification time of an image, which change when the image does."""
    try:
        stat = path.stat()
    except OSError:
        return "missing"
    return f"{stat.st_size}-{stat.st_mtime_ns}"
