"""Looking at a result: transform display, overlays and blink. MRML nodes only, no Qt."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import slicer

from GeminiPropagateLib.geometry import WorldGrid
from GeminiPropagateLib.scene_nodes import KINDS, TargetNodes, nodes_of_class, target_of_node

GRID, GLYPH, CONTOUR = "grid", "glyph", "contour"
#: Overlays of :func:`show_overlay`; the names of the volumes in TargetNodes.
NONE, WARPED, LOG_JACOBIAN, GSS, GVS, AGREEMENT = (
    "none",
    "warped",
    "log_jacobian",
    "gss",
    "gvs",
    "agreement",
)
#: Across the middle one of an image's three sides.
_GRID_LINES = 12
_GLYPHS = 16
_LEVELS = 5


@dataclass(frozen=True)
class DisplaySpacings:
    """Spacings in mm that fit an image.

    Attributes
    ----------
    grid, grid_resolution
        Between the lines of the grid, and between the points of a line.
    glyph
        Between arrows.
    contour_levels, contour_resolution
        Displacements at which contours are drawn, and the step at which they are looked for.
    """

    grid: float
    grid_resolution: float
    glyph: float
    contour_levels: tuple[float, ...]
    contour_resolution: float


def spacings_for(volume_node: Any, largest_displacement: float | None = None) -> DisplaySpacings:
    """Choose spacings from a volume's size and the field's largest displacement.

    Slicer's defaults (15 mm) suit a human body; a mouse brain or a crop of 40 mm needs less.

    Parameters
    ----------
    volume_node
        The target.
    largest_displacement
        In mm; None: a tenth of the image.
    """
    grid = WorldGrid(volume_node)
    voxel = np.linalg.norm(grid.matrix[:3, :3], axis=0)
    sides = [n * step for n, step in zip(grid.dimensions, voxel, strict=True) if n > 1]
    side = float(np.median(sides)) if sides else float(voxel.max())
    smallest = float(voxel.min())
    lines = _nice(max(side / _GRID_LINES, 2 * smallest))
    largest = largest_displacement or side / 10
    step = _nice(largest / (_LEVELS + 1))
    return DisplaySpacings(
        grid=lines,
        grid_resolution=max(lines / 5, smallest / 2),
        glyph=_nice(max(side / _GLYPHS, smallest)),
        contour_levels=tuple(round(step * (n + 1), 6) for n in range(_LEVELS)),
        contour_resolution=max(side / 60, smallest / 2),
    )


def _nice(length: float) -> float:
    """Round to 1, 2 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(length))
    return float(min((1, 2, 5, 10), key=lambda n: abs(n * power - length)) * power)


def show_transform(
    transform_node: Any,
    volume_node: Any,
    mode: str | None,
    largest_displacement: float | None = None,
) -> None:
    """Show a transform in the slice views as grid, glyph or contour.

    Slicer draws where points of the atlas go (to parent), the inverse of what the field holds.

    Parameters
    ----------
    transform_node
        The field; None does nothing.
    volume_node
        The target; it limits the display in 3D views and sets the spacings.
    mode
        ``grid``, ``glyph`` or ``contour``; None hides the transform.
    largest_displacement
        In mm; spreads contour levels.
    """
    if transform_node is None:
        return
    transform_node.CreateDefaultDisplayNodes()
    display = transform_node.GetDisplayNode()
    if mode is None:
        display.SetVisibility(False)
        return
    spacings = spacings_for(volume_node, largest_displacement)
    modes = {
        GRID: display.VIS_MODE_GRID,
        GLYPH: display.VIS_MODE_GLYPH,
        CONTOUR: display.VIS_MODE_CONTOUR,
    }
    display.SetVisualizationMode(modes[mode])
    display.SetGridSpacingMm(spacings.grid)
    display.SetGridResolutionMm(spacings.grid_resolution)
    display.SetGridScalePercent(100)
    display.SetGlyphSpacingMm(spacings.glyph)
    display.SetGlyphDisplayRangeMinMm(0.0)
    display.SetGlyphDisplayRangeMaxMm(max(2 * (largest_displacement or 0.0), 100.0))
    display.SetContourResolutionMm(spacings.contour_resolution)
    display.SetContourLevelsMmFromString(" ".join(f"{x:g}" for x in spacings.contour_levels))
    display.SetAndObserveRegionNode(volume_node)
    # In 3D the inverse is computed at every point of the volume: only when the user asks for it.
    display.SetVisibility3D(False)
    display.SetVisibility2D(True)
    display.SetVisibility(True)


def show_target(nodes: TargetNodes, jump: bool = True) -> None:
    """Show a target with its segmentation in all slice views, hide those of other targets.

    Parameters
    ----------
    nodes
        Of the target.
    jump
        Move the slices to the middle of the segmentation.
    """
    scene = nodes.target.GetScene()
    own = {id(getattr(nodes, role)) for role in KINDS if getattr(nodes, role) is not None}
    for class_name in ("vtkMRMLSegmentationNode", "vtkMRMLTransformNode"):
        for node in nodes_of_class(scene, class_name):
            other = target_of_node(node) is not None and id(node) not in own
            if other and node.GetDisplayNode() is not None:
                node.GetDisplayNode().SetVisibility(False)
    if nodes.segmentation is not None:
        nodes.segmentation.CreateDefaultDisplayNodes()
        nodes.segmentation.GetDisplayNode().SetVisibility(True)
    for composite in nodes_of_class(scene, "vtkMRMLSliceCompositeNode"):
        composite.SetBackgroundVolumeID(nodes.target.GetID())
        composite.SetForegroundVolumeID(None)
    if jump:
        slicer.vtkMRMLSliceNode.JumpAllSlices(scene, *middle_of(nodes))


def middle_of(nodes: TargetNodes) -> tuple[float, float, float]:
    """Return the middle of the segmentation (of the target where it is empty), RAS mm."""
    bounds = [0.0, -1.0] * 3
    if nodes.segmentation is not None:
        nodes.segmentation.GetRASBounds(bounds)
    if bounds[0] > bounds[1]:
        nodes.target.GetRASBounds(bounds)
    return tuple((bounds[2 * axis] + bounds[2 * axis + 1]) / 2 for axis in range(3))


def show_overlay(nodes: TargetNodes, overlay: str, opacity: float = 0.6) -> None:
    """Lay one of the maps over the target in all slice views.

    Parameters
    ----------
    nodes
        Of the target.
    overlay
        ``warped``, ``log_jacobian``, ``gss``, ``gvs`` or ``agreement``; ``none``, or a map that
        does not exist, takes the overlay away.
    opacity
        Of the overlay, 0 to 1.
    """
    node = None if overlay == NONE else getattr(nodes, overlay)
    for composite in nodes_of_class(nodes.target.GetScene(), "vtkMRMLSliceCompositeNode"):
        composite.SetBackgroundVolumeID(nodes.target.GetID())
        composite.SetForegroundVolumeID(None if node is None else node.GetID())
        composite.SetForegroundOpacity(0.0 if node is None else opacity)


def show_folds(nodes: TargetNodes, visible: bool) -> None:
    """Show or hide the segments of folds."""
    if nodes.folds is not None:
        nodes.folds.CreateDefaultDisplayNodes()
        nodes.folds.GetDisplayNode().SetVisibility(visible)


class Blink:
    """Show target and warped atlas in turn; call :meth:`step` from a timer.

    Parameters
    ----------
    nodes
        Of the target.
    """

    def __init__(self, nodes: TargetNodes) -> None:
        self._scene = nodes.target.GetScene()
        self._target_id = nodes.target.GetID()
        self._warped_id = None if nodes.warped is None else nodes.warped.GetID()
        self._before = [
            (composite.GetID(), composite.GetForegroundVolumeID(), composite.GetForegroundOpacity())
            for composite in self._composites()
        ]
        self.shows_warped = False

    def _composites(self) -> list[Any]:
        return nodes_of_class(self._scene, "vtkMRMLSliceCompositeNode")

    def step(self) -> bool:
        """Show the other one; False when a node is gone and blinking should stop."""
        nodes = [self._target_id, self._warped_id]
        if any(name is None or self._scene.GetNodeByID(name) is None for name in nodes):
            self.stop()
            return False
        self.shows_warped = not self.shows_warped
        for composite in self._composites():
            composite.SetForegroundVolumeID(self._warped_id)
            composite.SetForegroundOpacity(1.0 if self.shows_warped else 0.0)
        return True

    def stop(self) -> None:
        """Show what was shown before."""
        self.shows_warped = False
        for name, foreground, opacity in self._before:
            composite = self._scene.GetNodeByID(name)
            if composite is not None:
                gone = foreground is None or self._scene.GetNodeByID(foreground) is None
                composite.SetForegroundVolumeID(None if gone else foreground)
                composite.SetForegroundOpacity(0.0 if gone else opacity)
