"""What has to be mended in a Qt binding so that a long session does not end by itself."""

from __future__ import annotations

import ctypes
import sys

#: References that are added; PySide6 would need years to lose them.
_MANY = 1 << 40


def keep_none_alive() -> None:
    """Keep PySide6 from ending the process on Python 3.11.

    Each call of a Qt method that returns nothing takes a reference from None there (PySide6 6.12).
    After some thousand calls, in plain napari too, Python aborts: "deallocating None". From
    Python 3.12 on None cannot be deallocated, and other bindings keep count. Here None gets so many
    references that they are never used up; called again, nothing happens.
    """
    if sys.version_info >= (3, 12) or sys.implementation.name != "cpython":
        return
    if "PySide6" not in sys.modules or ctypes.sizeof(ctypes.c_ssize_t) < 8:
        return
    if sys.getrefcount(None) < _MANY // 2:
        # The count is the first field of every object.
        ctypes.c_ssize_t.from_address(id(None)).value += _MANY
