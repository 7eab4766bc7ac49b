"""Keys of the docks, bound in code so that none is taken away from anybody."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari.components import ViewerModel


def bind(viewer: ViewerModel, key: str, function: Callable[[], Any], description: str = "") -> bool:
    """Bind a key of a viewer unless it has a meaning already.

    Parameters
    ----------
    viewer
        Whose keys they are.
    key
        As napari writes it, such as ``Control-Shift-N``.
    function
        Called without arguments.
    description
        Shown in napari's list of keys.

    Returns
    -------
    bool
        Whether the key is ours now.
    """

    def pressed(_viewer: ViewerModel) -> None:
        function()

    pressed.__doc__ = description
    try:
        viewer.bind_key(key, pressed)
    except ValueError:
        return False
    return True


def unbind(viewer: ViewerModel, key: str) -> None:
    """Give a key back that :func:`bind` took."""
    viewer.bind_key(key, None, overwrite=True)
