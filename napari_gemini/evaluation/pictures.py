"""Pictures for reports, drawn in memory by matplotlib's Agg canvas and embedded as data URIs.

No text that a user wrote is ever drawn (names belong to the page, where they are escaped).
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_gemini.evaluation.slices import Slicer, View

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = NDArray[Any]
Draw = Callable[["Axes", View], Any]

BACKGROUND = "#0d1014"
LETTERS = "#f2d16b"
WIDTH_INCHES = 10.0
LETTER_INCHES, BAR_INCHES = 0.27, 0.85
LABEL_COLORS = (
    "#e6553d", "#3fa7ff", "#5ecf5a", "#f2c230", "#c77dff", "#2fd3c9", "#ff8fc2", "#ff9838",
    "#9db4ff", "#b6d94c", "#d98c6a", "#8fe3a8", "#f06a8a", "#66c2e0", "#cfb36a", "#b49ae0",
)  # fmt: skip
FIXED_COLOR, MOVING_COLOR = "#31d843", "#ea3cd0"
FOLD_COLORS = {1: "#ffd000", 2: "#00ff5e"}


def label_color(label: str | int, colors: Mapping[str, str] | None = None) -> str:
    """Return the colour of a label: its own where it has a valid one, else from the palette."""
    from matplotlib.colors import is_color_like, to_hex

    own = (colors or {}).get(str(label))
    if own is not None and is_color_like(own):
        return str(to_hex(own))
    key = int(label) - 1 if str(label).isdecimal() else sum(map(ord, str(label)))
    return LABEL_COLORS[key % len(LABEL_COLORS)]


def slice_row(
    slicer: Slicer,
    draw: Draw,
    *,
    width: float = WIDTH_INCHES,
    dpi: int = 110,
    letters: bool = True,
    limits: Mapping[str, tuple[float, float, float, float]] | None = None,
    colorbar: bool = False,
) -> str:
    """Draw every view of a scan side by side in true proportion.

    Parameters
    ----------
    slicer
        The scan's grid.
    draw
        Called with the axes of each view; returns what a colour bar is made for, or None.
    width, dpi
        Width of the whole picture in inches, and its resolution.
    letters
        Whether patient directions stand at the edges.
    limits
        Per view name the left, right, bottom and top that are seen, in mm; else all of the slice.
    colorbar
        Whether a colour bar of the last drawing is added.

    Returns
    -------
    str
        PNG as a data URI.
    """
    from matplotlib.figure import Figure

    views = slicer.views
    seen = {view.name: (limits or {}).get(view.name, slicer.extent(view)) for view in views}
    sizes = [(e[1] - e[0], e[2] - e[3]) for e in seen.values()]
    lettered = letters and slicer.volume.spacing_known
    bar = BAR_INCHES / width if colorbar else 0.0
    gap = LETTER_INCHES / width if lettered else 0.008
    inner = 1 - bar - 2 * gap * len(views)
    scale = inner * width / sum(size[0] for size in sizes)
    height = max(size[1] for size in sizes) * scale + 2 * gap * width
    figure = Figure(figsize=(width, height), dpi=dpi, facecolor=BACKGROUND)
    left = gap
    drawn = None
    for view, size in zip(views, sizes, strict=True):
        share = size[0] * scale / width, size[1] * scale / height
        axes = figure.add_axes((left, 0.5 - share[1] / 2, *share))
        axes.set_facecolor(BACKGROUND)
        drawn = draw(axes, view)
        extent = seen[view.name]
        axes.set_xlim(extent[0], extent[1])
        axes.set_ylim(extent[2], extent[3])
        axes.set_aspect("equal")
        axes.set_axis_off()
        if lettered:
            _write_letters(axes, view)
        left += share[0] + 2 * gap
    if colorbar and drawn is not None:
        _add_colorbar(figure, drawn, left - gap)
    return png(figure)


def gray(
    axes: Axes,
    slicer: Slicer,
    view: View,
    picture: Array,
    window: tuple[float, float],
    margin: tuple[int, int] = (0, 0),
) -> None:
    """Draw a picture in shades of grey; what is not finite stays background."""
    axes.imshow(
        np.ma.masked_invalid(picture),
        cmap="gray",
        vmin=window[0],
        vmax=window[1],
        extent=slicer.extent(view, margin),
    )


def colored(
    axes: Axes, slicer: Slicer, view: View, picture: Array, cmap: str, limits: tuple[float, float]
) -> Any:
    """Draw a map in colours; what is not finite stays background. Returns it for a colour bar."""
    return axes.imshow(
        np.ma.masked_invalid(picture),
        cmap=cmap,
        vmin=limits[0],
        vmax=limits[1],
        extent=slicer.extent(view),
    )


def additive(
    axes: Axes,
    slicer: Slicer,
    view: View,
    green: tuple[Array, tuple[float, float]],
    magenta: tuple[Array, tuple[float, float]],
) -> None:
    """Add two pictures in complementary colours: where they agree the sum is grey.

    Each comes with its window; what is not finite counts as black.
    """
    first, second = (_unit(*side) for side in (green, magenta))
    axes.imshow(np.stack([second, first, second], axis=-1), extent=slicer.extent(view))


def contours(
    axes: Axes,
    slicer: Slicer,
    view: View,
    labels: Array,
    colors: Mapping[int, str],
    *,
    dashed: bool = False,
    width: float = 1.4,
) -> None:
    """Draw the outline of every label of a slice (rows, columns)."""
    for label in np.unique(labels):
        if label == 0:
            continue
        mask = np.pad((labels == label).astype(np.float32), 1)
        x, y = _pixel_centres(slicer, view, margin=1)
        axes.contour(
            x,
            y,
            mask,
            levels=[0.5],
            colors=[colors.get(int(label), label_color(int(label)))],
            linewidths=width,
            linestyles="dashed" if dashed else "solid",
        )


def marked(
    axes: Axes, slicer: Slicer, view: View, values: Array, colors: Mapping[int, str]
) -> None:
    """Mark the pixels that have one of the values, large enough to be seen in any picture."""
    x, y = _pixel_centres(slicer, view, margin=0)
    for value, color in colors.items():
        rows, columns = np.nonzero(values == value)
        axes.scatter(x[columns], y[rows], s=22, marker="s", color=color, ec="black", lw=0.5)


def mesh(axes: Axes, points: Array, step: int, folded: Array | None = None) -> None:
    """Draw the grid lines through vertices (rows, columns, 2) in mm, every `step` pixels.

    Parameters
    ----------
    axes
        Where to draw.
    points
        Where the field puts each pixel of the slice.
    step
        Pixels between two lines; each line follows every pixel.
    folded
        Mask (rows, columns) of vertices to be marked.
    """
    from matplotlib.collections import LineCollection

    rows, columns = _line_positions(points.shape[0], step), _line_positions(points.shape[1], step)
    lines = [points[row] for row in rows] + [points[:, column] for column in columns]
    axes.add_collection(LineCollection(lines, colors="#59c8ff", linewidths=0.8, alpha=0.9))
    if folded is not None and folded.any():
        x, y = points[folded].T
        axes.scatter(x, y, s=16, color=FOLD_COLORS[2], linewidths=0)


def window_of(values: Iterable[Array] | Array) -> tuple[float, float]:
    """Return the 1st and 99.5th percentile of the finite values of one or several arrays."""
    arrays = [values] if isinstance(values, np.ndarray) else list(values)
    finite = np.concatenate([array[np.isfinite(array)].ravel() for array in arrays])
    if not finite.size:
        return 0.0, 1.0
    low, high = (float(value) for value in np.percentile(finite, (1, 99.5)))
    return (low, high) if high > low else (low, low + 1.0)


def png(figure: Figure) -> str:
    """Return a figure as a PNG data URI."""
    stream = io.BytesIO()
    figure.savefig(
        stream, format="png", facecolor=figure.get_facecolor(), metadata={"Software": None}
    )
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()


def _line_positions(length: int, step: int) -> list[int]:
    positions = list(range((length - 1) % step // 2, length, step))
    return sorted({0, length - 1, *positions})


def _pixel_centres(slicer: Slicer, view: View, margin: int) -> tuple[Array, Array]:
    columns, rows = slicer.shape[view.across], slicer.shape[view.down]
    x = np.arange(-margin, columns + margin) * slicer.spacing[view.across]
    y = np.arange(-margin, rows + margin) * slicer.spacing[view.down]
    return x, y


def _unit(picture: Array, window: tuple[float, float]) -> Array:
    scaled = (picture - window[0]) / (window[1] - window[0])
    return np.clip(np.nan_to_num(scaled, nan=0.0), 0.0, 1.0)


def _write_letters(axes: Axes, view: View) -> None:
    """Write the patient directions beside the slice, where they hide nothing."""
    places: Sequence[tuple[str, float, float, tuple[int, int]]] = (
        ("left", 0, 0.5, (-9, 0)),
        ("right", 1, 0.5, (9, 0)),
        ("top", 0.5, 1, (0, 9)),
        ("bottom", 0.5, 0, (0, -9)),
    )
    for edge, x, y, offset in places:
        axes.annotate(
            view.letters[edge],
            (x, y),
            xycoords="axes fraction",
            xytext=offset,
            textcoords="offset points",
            ha="center",
            va="center",
            color=LETTERS,
            fontsize=14,
            fontweight="bold",
        )


def _add_colorbar(figure: Figure, drawn: Any, left: float) -> None:
    width = 0.14 / figure.get_figwidth()
    bar = figure.colorbar(drawn, cax=figure.add_axes((left + width / 2, 0.12, width, 0.76)))
    bar.ax.tick_params(colors="#dfe5ec", labelsize=13)
    bar.outline.set_edgecolor("#dfe5ec")
