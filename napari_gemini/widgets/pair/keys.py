"""Keys of the Correspondence dock, on both canvases; those that have a meaning are left alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any
from weakref import ref

from napari_gemini.widgets.common.keys import bind, unbind

if TYPE_CHECKING:
    from napari.components import ViewerModel

VIEW, MODE, WARPED, DEFORMED = "Shift-S", "Shift-M", "Shift-T", "Shift-U"
GRID, ARROWS, JACOBIAN, FOLD, SWAP = "Shift-G", "Shift-D", "Shift-J", "Shift-F", "Shift-X"

#: Key and what it does, for tooltips and the documentation.
KEYS = {
    VIEW: "Show the scans side by side, or both in the fixed scan's space",
    MODE: "Take the next kind of overlay",
    WARPED: "Hide the warped scan, or show it again",
    DEFORMED: "Undo the deformation of the warped scan, or do it again",
    GRID: "Show or hide the deformation grid",
    ARROWS: "Show or hide the displacement arrows",
    JACOBIAN: "Show or hide the log-Jacobian",
    FOLD: "Go to the next fold",
    SWAP: "Swap the fixed and the moving scan",
}


def key_words(key: str) -> str:
    """Return the line of a tooltip that names a key."""
    return f"Key: {key.replace('-', '+')}"


class CanvasKeys:
    """Keys that act in several viewers.

    Parameters
    ----------
    actions
        Key -> what it does; called without arguments.
    words
        Key -> what napari's list of keys says.
    """

    def __init__(self, actions: Mapping[str, Callable[[], Any]], words: Mapping[str, str]) -> None:
        self._actions, self._words = actions, words
        self._bound: list[tuple[ref[Any], list[str]]] = []

    def attach(self, viewer: ViewerModel) -> None:
        """Bind the keys in a viewer, once."""
        if any(known() is viewer for known, _ in self._bound):
            return
        keys = [k for k, action in self._actions.items() if bind(viewer, k, action, self._words[k])]
        self._bound.append((ref(viewer), keys))

    def drop(self) -> None:
        """Give all keys back."""
        bound, self._bound = self._bound, []
        for known, keys in bound:
            viewer = known()
            for key in keys if viewer is not None else []:
                unbind(viewer, key)
