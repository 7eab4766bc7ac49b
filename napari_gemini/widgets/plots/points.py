"""Many round points as one draw call, fast with software OpenGL too.

vispy's markers shade every fragment for any symbol, edge and light; 20,000 of them take a large
part of a second where there is no graphics card. These know discs alone, and what is selected is an
attribute of its own: selecting uploads neither places nor colours again.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from vispy import gloo
from vispy.scene.visuals import create_visual_node
from vispy.visuals import Visual

#: Opacity of points while others are selected.
_DIM = 0.18
#: By how many pixels a selected point is wider, and the width of its edge; thousands of small
#: points have no edges, which would hide their colours.
_WIDER, _EDGE, _SMALL = 2.0, 1.2, 4.0

_VERTEX = """
attribute vec2 a_place;
attribute vec4 a_colour;
attribute float a_chosen;
uniform float u_size;
uniform float u_scale;
uniform float u_dim;
uniform float u_wider;
uniform float u_border;
varying vec4 v_colour;
varying float v_radius;
varying float v_inner;

void main() {
    gl_Position = $transform(vec4(a_place, 0.0, 1.0));
    v_colour = a_colour;
    v_colour.a *= mix(u_dim, 1.0, a_chosen);
    float size = u_scale * (u_size + a_chosen * u_wider);
    v_radius = 0.5 * size;
    v_inner = a_chosen * u_border > 0.0 ? v_radius - u_border * u_scale : v_radius + 1.0;
    gl_PointSize = size + 1.0;
}
"""

_FRAGMENT = """
uniform vec4 u_edge;
varying vec4 v_colour;
varying float v_radius;
varying float v_inner;

void main() {
    // In pixels from the middle; half a pixel more than the disc is drawn, for a smooth border.
    float away = length(gl_PointCoord - 0.5) * (2.0 * v_radius + 1.0);
    float inside = clamp(v_radius + 0.5 - away, 0.0, 1.0);
    if (inside <= 0.0) discard;
    vec4 colour = away > v_inner ? u_edge : v_colour;
    gl_FragColor = vec4(colour.rgb, colour.a * inside);
}
"""


class PointsVisual(Visual):
    """Discs of one size in a plane; chosen ones are wider, have an edge and are on top."""

    def __init__(self) -> None:
        Visual.__init__(self, _VERTEX, _FRAGMENT)
        self._place = gloo.VertexBuffer(np.zeros((1, 2), np.float32))
        self._colour = gloo.VertexBuffer(np.ones((1, 4), np.float32))
        self._chosen = gloo.VertexBuffer(np.zeros(1, np.float32))
        self._rank = gloo.IndexBuffer(np.zeros(1, np.uint32))
        self._size, self._dim = 5.0, 1.0
        self._extent = np.zeros((2, 2))
        program = self.shared_program
        program["a_place"], program["a_colour"] = self._place, self._colour
        program["a_chosen"] = self._chosen
        program["u_edge"] = (0.0, 0.0, 0.0, 1.0)
        self._draw_mode = "points"
        self._index_buffer = self._rank
        self.set_gl_state("translucent", depth_test=False, cull_face=False)

    def set_places(self, places: NDArray[np.float32], size: float) -> None:
        """Set where points are (n, 2) and how wide, in pixels; n may change only with the rest."""
        self._place.set_data(np.ascontiguousarray(places, np.float32))
        self._extent = np.stack([places.min(axis=0), places.max(axis=0)])
        self._size = size
        self.update()

    def set_colours(self, colours: NDArray[np.float32]) -> None:
        """Set RGBA in [0, 1], (n, 4)."""
        self._colour.set_data(np.ascontiguousarray(colours, np.float32))
        self.update()

    def set_chosen(self, chosen: NDArray[np.bool_]) -> None:
        """Set which points (n,) stand out; the others are dimmed unless there is none."""
        self._chosen.set_data(chosen.astype(np.float32))
        self._dim = _DIM if chosen.any() else 1.0
        # Transparent points of one depth: the later one is on top.
        self._rank.set_data(np.argsort(chosen, kind="stable").astype(np.uint32))
        self.update()

    def set_edge(self, colour: tuple[float, ...]) -> None:
        """Set the colour of the edge of chosen points, RGBA."""
        self.shared_program["u_edge"] = colour
        self.update()

    def _prepare_transforms(self, view: Any) -> None:
        view.view_program.vert["transform"] = view.transforms.get_transform()

    def _prepare_draw(self, view: Any) -> None:
        program = view.view_program
        program["u_size"], program["u_dim"] = self._size, self._dim
        large = self._size > _SMALL
        program["u_wider"], program["u_border"] = (_WIDER, _EDGE) if large else (_WIDER / 2, 0.0)
        program["u_scale"] = view.transforms.pixel_scale

    def _compute_bounds(self, axis: int, view: Any) -> tuple[float, float]:
        if axis > 1:
            return 0.0, 0.0
        return float(self._extent[0, axis]), float(self._extent[1, axis])


#: The visual as a node of a scene.
Points: Any = create_visual_node(PointsVisual)
