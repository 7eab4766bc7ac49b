"""Looking at a result: transform display, overlays, blink, and warnings. MRML nodes only, no Qt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

GRID, GLYPH, CONTOUR = "grid", "glyph", "contour"
#: Overlays of :func:`show_overlay`.
NONE, WARPED, LOG_JACOBIAN, GSS, GVS, AGREEMENT = (
    "none",
    "warped",
    "log_jacobian",
    "gss",
    "gvs",
    "agreement",
)


@dataclass(frozen=True)
class DisplaySpacings:
    """Spacings in mm that fit an image: grid lines, their sampling, glyphs, contour levels."""

    grid: float
    grid_resolution: float
    glyph: float
    contour_levels: tuple[float, ...]
    contour_resolution: float


def spacings_for(volume_node: Any, largest_displacement: float | None = None) -> DisplaySpacings:
    """Choose spacings from a volume's size and the field's largest displacement in mm."""
    raise NotImplementedError


def show_transform(transform_node: Any, volume_node: Any, mode: str | None) -> None:
    """Show a transform in the slice views as grid, glyph or contour; None hides it."""
    raise NotImplementedError


def show_target(nodes: Any, jump: bool = True) -> None:
    """Show a target with its segmentation in all slice views, hide those of other targets.

    Parameters
    ----------
    nodes
        :class:`GeminiPropagateLib.results.TargetNodes`.
    jump
        Move the slices to the middle of the segmentation.
    """
    raise NotImplementedError


def show_overlay(nodes: Any, overlay: str, opacity: float = 0.6) -> None:
    """Lay one of the maps over the target in all slice views; ``none`` takes it away."""
    raise NotImplementedError


def show_folds(nodes: Any, visible: bool) -> None:
    """Show or hide the segments of folds."""
    raise NotImplementedError


class Blink:
    """Show target and warped atlas in turn; call :meth:`step` from a timer."""

    def __init__(self, nodes: Any) -> None:
        raise NotImplementedError

    def step(self) -> bool:
        """Show the other one; False when a node is gone and blinking should stop."""
        raise NotImplementedError

    def stop(self) -> None:
        """Show the target as before."""
        raise NotImplementedError


def fold_warning(fold_percent: float | None) -> str:
    """Return a sentence about the inverse where the field folds, empty where it does not."""
    raise NotImplementedError


def check_hardened(
    atlas_segmentation: Any, transform_node: Any, target_node: Any, label_map: Any, labels: Any
) -> str:
    """Compare the engine's labels with the atlas hardened by Slicer under the field.

    Returns
    -------
    str
        Empty when they agree (Dice of every label at least 0.99), else a sentence of warning.
    """
    raise NotImplementedError
