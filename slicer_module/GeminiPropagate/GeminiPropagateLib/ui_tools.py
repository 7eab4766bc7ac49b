"""Small helpers of the panel's sections."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any


@contextlib.contextmanager
def blocked(*widgets: Any) -> Iterator[None]:
    """Change widgets without their signals."""
    before = [widget.blockSignals(True) for widget in widgets]
    try:
        yield
    finally:
        for widget, was_blocked in zip(widgets, before, strict=True):
            widget.blockSignals(was_blocked)


def alive(node: Any) -> bool:
    """Say whether a node is still in a scene; Python keeps deleted ones reachable."""
    return node is not None and node.GetScene() is not None


def alive_only(nodes: Iterable[Any]) -> list[Any]:
    """Leave deleted nodes out."""
    return [node for node in nodes if alive(node)]


def hide_nodes(selectors: Sequence[Any], nodes: Sequence[Any]) -> None:
    """Leave nodes out of the lists of selectors."""
    hidden = [node.GetID() for node in nodes]
    for selector in selectors:
        model = selector.sortFilterProxyModel()
        if list(model.hiddenNodeIDs) != hidden:
            model.hiddenNodeIDs = hidden


def set_items(combo: Any, texts: Sequence[str], current: str) -> None:
    """Fill a combo box anew; `current` stays what it shows, listed or not."""
    with blocked(combo):
        combo.clear()
        combo.addItems(list(texts))
        index = combo.findText(current)
        combo.currentIndex = index
        if index < 0:
            combo.setEditText(current)


def set_checked_nodes(selector: Any, nodes: Sequence[Any], checked: Any, unchecked: Any) -> None:
    """Check exactly these nodes in a list of checkable nodes, without its signals."""
    wanted = {node.GetID() for node in nodes}
    with blocked(selector):
        for node in list(selector.checkedNodes()):
            if node.GetID() not in wanted:
                selector.setCheckState(node, unchecked)
        for node in nodes:
            selector.setCheckState(node, checked)
