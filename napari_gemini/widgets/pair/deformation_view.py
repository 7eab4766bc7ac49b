"""Deformation grid and displacement arrows in the plane shown, following the slice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import ref

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QObject

from napari_gemini.widgets.common.connections import Connections
from napari_gemini.widgets.pair.deformation import (
    Plane,
    arrows,
    clip,
    default_spacing,
    fixed_grid_on_moving,
    line_vertices,
    moving_grid_on_fixed,
    segments,
)
from napari_gemini.widgets.pair.pair_data import PairData
from napari_gemini.widgets.pair.shown import (
    first,
    metadata_of,
    plain_thumbnail,
    put,
    removing,
    shown_plane,
    take_away,
    watch_removals,
    world_to_data,
)

if TYPE_CHECKING:
    from napari.components import ViewerModel

GRID, ARROWS = "grid", "vectors"
_ABOVE = ("cursor",)


class DeformationView(QObject):
    """Keeps grid lines and arrows on the slice that is shown.

    In the fixed scan's viewer lies the grid of the moving scan, as the map deforms it; in the
    moving scan's viewer the grid of the fixed slice, each vertex where the field sends it.

    Parameters
    ----------
    viewer, partner
        Viewers of the fixed and of the moving scan.
    pair
        The map.
    colour
        Of the grid.
    """

    def __init__(
        self,
        viewer: ViewerModel,
        partner: ViewerModel,
        pair: PairData,
        colour: str = "yellow",
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._viewer, self._partner = ref(viewer), ref(partner)
        self.pair = pair
        self.colour = colour
        self.spacing = default_spacing(pair.fixed_grid)
        self.t = 1.0
        self.shows_grid = self.shows_arrows = False
        self._longest: float | None = None
        self._drawn: tuple[Any, ...] | None = None
        self._connections = Connections()
        for model in (viewer, partner):
            watch_removals(model)
        for event in (viewer.dims.events.current_step, viewer.dims.events.order):
            self._connections.connect(event, self._on_slice)
        self._connections.connect(viewer.dims.events.ndisplay, self._on_slice)
        self._connections.connect(partner.dims.events.current_step, self._on_partner)

    def set_grid(self, on: bool) -> None:
        """Show or remove the grid."""
        self.shows_grid = on
        if on:
            self.refresh()
            return
        for viewer in (self._viewer(), self._partner()):
            if viewer is not None:
                take_away(viewer, GRID)

    def set_arrows(self, on: bool) -> None:
        """Show or remove the arrows."""
        self.shows_arrows = on
        viewer = self._viewer()
        if on:
            self.refresh()
        elif viewer is not None:
            take_away(viewer, ARROWS)

    def set_spacing(self, spacing: float) -> None:
        """Set the distance of lines and arrows in the unit of the fixed grid."""
        self.spacing = max(float(spacing), min(self.pair.fixed_grid.spacing))
        self.refresh()

    def set_t(self, t: float) -> None:
        """Follow the slider from placed (0) to deformed (1); arrows always show all of it."""
        self.t = float(t)
        if self.shows_grid:
            self.refresh_grid()

    def refresh(self) -> None:
        """Draw what is switched on for the slice that is shown."""
        if self.shows_grid:
            self.refresh_grid()
        if self.shows_arrows:
            self.refresh_arrows()

    def _plane(self) -> Plane | None:
        """Return the slice shown; in 3D the one that was shown before, through the sliders."""
        viewer, grid = self._viewer(), self.pair.fixed_grid
        if viewer is None:
            return None
        plane = shown_plane(viewer, grid)
        if plane is None and viewer.dims.ndim == grid.ndim == 3:
            depth = float(np.rint(world_to_data(grid, viewer.dims.point)[0]))
            plane = Plane((1, 2), depth)
        return plane

    def _flat(self, viewer: ViewerModel) -> bool:
        return bool(viewer.dims.ndisplay == 2)

    def refresh_grid(self) -> None:
        """Draw the grid of the slice that is shown, in both viewers."""
        viewer, plane = self._viewer(), self._plane()
        if viewer is None or plane is None:
            return
        grid = self.pair.fixed_grid
        lines = line_vertices(grid, plane, self.spacing)
        through = plane.through(grid.ndim)
        flatten = (through, plane.index) if through is not None and self._flat(viewer) else None
        found = segments(moving_grid_on_fixed(self.pair, lines, self.t), flatten)
        self._draw(viewer, found, grid, "moving scan's grid, deformed")
        self._draw_partner(plane)

    def _draw_partner(self, plane: Plane) -> None:
        partner, grid = self._partner(), self.pair.moving_grid
        if partner is None:
            return
        shown = shown_plane(partner, grid)
        # A slider of one viewer moves the other one's too: both ask, one drawing is enough.
        drawn = (plane, shown, self.spacing, self.t)
        if drawn == self._drawn and first(partner, GRID) is not None:
            return
        self._drawn = drawn
        lines = line_vertices(self.pair.fixed_grid, plane, self.spacing)
        through = None if shown is None else shown.through(grid.ndim)
        flatten = None if shown is None or through is None else (through, shown.index)
        found = segments(fixed_grid_on_moving(self.pair, lines, self.t), flatten)
        self._draw(partner, found, grid, "fixed slice's grid, where the field sends it")

    def _draw(self, viewer: ViewerModel, found: NDArray[Any], grid: Any, name: str) -> None:
        from napari.layers import Vectors

        data, _ = clip(found, grid.shape)
        layer = first(viewer, GRID)
        if layer is not None:
            layer.data = data
            return
        layer = Vectors(
            data,
            ndim=grid.ndim,
            name=name,
            vector_style="line",
            edge_color=self.colour,
            edge_width=_line_width(grid),
            opacity=0.8,
            blending="translucent_no_depth",
            metadata=metadata_of(GRID, grid, self.pair, spacing=self.spacing),
            **grid.layer_options(),
        )
        plain_thumbnail(layer)
        put(viewer, layer, below=_ABOVE)

    def refresh_arrows(self) -> None:
        """Draw the displacement at regular points of the slice that is shown."""
        from napari.layers import Vectors

        viewer, plane, grid = self._viewer(), self._plane(), self.pair.fixed_grid
        if viewer is None or plane is None:
            return
        vectors, lengths = arrows(self.pair, plane, self.spacing, self._flat(viewer))
        data, kept = clip(vectors, grid.shape)
        features = {"length": lengths[kept]}
        layer = first(viewer, ARROWS)
        if layer is not None and len(layer.data) == len(data):
            layer.data, layer.features = data, features
            layer.refresh_colors()
            return
        # A layer of another number of vectors forgets its colours, so it is made anew.
        take_away(viewer, ARROWS)
        if not len(data):
            return
        layer = Vectors(
            data,
            ndim=grid.ndim,
            name=f"displacement, {self.pair.unit}",
            vector_style="arrow",
            edge_width=2 * _line_width(grid),
            features=features,
            edge_color="length",
            edge_colormap="turbo",
            edge_contrast_limits=(0.0, self.longest),
            blending="translucent_no_depth",
            metadata=metadata_of(ARROWS, grid, self.pair, spacing=self.spacing),
            **grid.layer_options(),
        )
        plain_thumbnail(layer)
        put(viewer, layer, below=_ABOVE)

    @property
    def longest(self) -> float:
        """What the colours end at: nearly the longest displacement of the whole scan."""
        if self._longest is None:
            fixed = self.pair.fixed
            axes = [np.linspace(0, n - 1, min(n, 16)) for n in fixed.shape]
            index = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, fixed.ndim)
            shifts = self.pair.displacement(fixed.voxel_to_world(index))
            length = float(np.percentile(np.linalg.norm(shifts, axis=1), 99))
            self._longest = max(length, 1e-3)
        return self._longest

    def _emptying(self) -> bool:
        viewers = (self._viewer(), self._partner())
        return any(viewer is not None and removing(viewer) for viewer in viewers)

    def _on_slice(self, event: Any = None) -> None:
        if not self._emptying():
            self.refresh()

    def _on_partner(self, event: Any = None) -> None:
        plane = self._plane()
        if self.shows_grid and plane is not None and not self._emptying():
            self._draw_partner(plane)

    def tear_down(self) -> None:
        """Let go of the viewers; layers stay."""
        self._connections.drop()


def _line_width(grid: Any) -> float:
    """Return a width in data units that is thin on any scan."""
    return float(max(grid.shape)) / 280
