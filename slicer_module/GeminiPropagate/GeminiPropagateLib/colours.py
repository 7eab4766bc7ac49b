"""Colour maps of the maps: diverging about 0 for log-Jacobians, rising for similarities."""

from __future__ import annotations

from typing import Any

import numpy as np

from GeminiPropagateLib.scene_nodes import shared_node

_ENTRIES = 256
#: Shrinkage blue, no change white, growth red.
_DIVERGING = ((0.0, 0.12, 0.32, 0.72), (0.5, 0.97, 0.97, 0.97), (1.0, 0.76, 0.13, 0.15))
#: Poor match dark, good match bright; readable without telling red from green.
_RISING = (
    (0.0, 0.17, 0.0, 0.33),
    (0.33, 0.23, 0.32, 0.55),
    (0.66, 0.21, 0.72, 0.47),
    (1.0, 0.99, 0.91, 0.15),
)


def diverging_colours(scene: Any) -> Any:
    """Return the scene's diverging colour node, made on first use."""
    return _colours(scene, "log-jacobian-colours", "Gemini log-Jacobian", _DIVERGING)


def rising_colours(scene: Any) -> Any:
    """Return the scene's colour node for similarities, made on first use."""
    return _colours(scene, "similarity-colours", "Gemini similarity", _RISING)


def _colours(scene: Any, role: str, name: str, stops: tuple[tuple[float, ...], ...]) -> Any:
    node, made = shared_node(scene, "vtkMRMLColorTableNode", role, name)
    if made:
        positions, *channels = np.array(stops).T
        node.SetTypeToUser()
        node.SetNumberOfColors(_ENTRIES)
        for entry, position in enumerate(np.linspace(0.0, 1.0, _ENTRIES)):
            color = [float(np.interp(position, positions, channel)) for channel in channels]
            node.SetColor(entry, f"{entry}", *color, 1.0)
    return node


def show_range(volume_node: Any, colour_node: Any, low: float, high: float) -> None:
    """Show a volume in colours over a fixed range."""
    volume_node.CreateDefaultDisplayNodes()
    display = volume_node.GetDisplayNode()
    display.SetAndObserveColorNodeID(colour_node.GetID())
    display.SetAutoWindowLevel(0)
    display.SetWindowLevelMinMax(low, high)
