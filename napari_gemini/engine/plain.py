"""Values that JSON can carry: what events and configuration files are made of."""

from __future__ import annotations

import math
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any

from pydantic import BaseModel


def to_plain(value: Any) -> Any:
    """Return `value` as something that strict JSON can hold and read back.

    Paths and unknown objects become strings, numpy scalars and arrays become numbers and lists,
    numbers that are not finite become None (JSON has no word for them).

    Parameters
    ----------
    value
        Anything that a task puts into an event or a result.
    """
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, Enum):
        return to_plain(value.value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, BaseModel):
        return to_plain(value.model_dump(mode="json"))
    if isinstance(value, Mapping):
        return {str(to_plain(key)): to_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [to_plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    # numpy and torch without importing them: both turn themselves into Python values.
    to_list = getattr(value, "tolist", None)
    return to_plain(to_list()) if callable(to_list) else str(value)
