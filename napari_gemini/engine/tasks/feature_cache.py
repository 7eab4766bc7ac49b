"""What the engine's child keeps of the features it computed, within bounded memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from pathlib import Path
from typing import Any

from napari_gemini.engine.tasks.serving import NONE, shipped_model
from napari_gemini.learning.checkpoints import resolve_model

#: Bytes that are kept; what was not used for longest goes first.
LIMIT = 2 << 30


class FeatureCache:
    """Values with their sizes; the least recently used leave when there are too many bytes.

    Parameters
    ----------
    limit
        Bytes. A value larger than that is not kept at all.
    """

    def __init__(self, limit: int = LIMIT) -> None:
        self.limit = limit
        self._values: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()

    @property
    def bytes_held(self) -> int:
        """Bytes of all that is kept."""
        return sum(size for _, size in self._values.values())

    def get(self, key: Hashable) -> Any | None:
        """Return a value, None where it is not kept (any more)."""
        if key not in self._values:
            return None
        self._values.move_to_end(key)
        return self._values[key][0]

    def put(self, key: Hashable, value: Any, size: int) -> None:
        """Keep a value of a size in bytes, letting others go to make room."""
        self._values.pop(key, None)
        if size > self.limit:
            return
        while self._values and self.bytes_held + size > self.limit:
            self._values.popitem(last=False)
        self._values[key] = (value, size)

    def clear(self) -> None:
        """Forget everything."""
        self._values.clear()


_cache = FeatureCache()


def cache() -> FeatureCache:
    """Return the cache of this process."""
    return _cache


def file_key(path: Path) -> tuple[str, int, int]:
    """Return what changes when a file does; a missing file is found out by whoever reads it."""
    try:
        status = path.stat()
    except OSError:
        return str(path), 0, 0
    return str(path), status.st_mtime_ns, status.st_size


def model_key(spec: str | None) -> tuple[Hashable, ...]:
    """Return what changes when another model serves, or a run has a newer checkpoint.

    Raises
    ------
    ModelError
        If there is no such model.
    """
    if spec == NONE:
        return (NONE,)
    if spec is None:
        folders = [shipped_model(dimension)[1] for dimension in (2, 3)]
    else:
        folders = [resolve_model(spec)]
    return tuple(folder and file_key(folder / "weights.safetensors") for folder in folders)
