"""Small charts as SVG pictures that follow the reader's light or dark theme."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Stand-ins that are replaced by CSS variables in the finished SVG.
_INK, _SOFT, _LINE, _ACCENT, _WARN = "#010203", "#010204", "#010205", "#010206", "#010207"
_VARIABLES = {_INK: "--ink", _SOFT: "--soft", _LINE: "--line", _ACCENT: "--accent", _WARN: "--warn"}
_STYLE = (
    "<style>:root{--ink:#1b2330;--soft:#5b6675;--line:#dfe3e9;--accent:#0b62c4;--warn:#c2551b}"
    "@media (prefers-color-scheme:dark){:root{--ink:#e6eaf0;--soft:#9aa6b5;--line:#2d3643;"
    "--accent:#6cb0ff;--warn:#ffb27d}}</style>"
)
SMOOTHED_FROM = 60


def curve(
    values: Mapping[int, float],
    *,
    size: tuple[float, float] = (4.4, 2.3),
    best: bool = False,
    logarithmic: bool = False,
) -> str:
    """Draw values over steps.

    Parameters
    ----------
    values
        Step to value, in order.
    size
        Width and height in inches.
    best
        Whether the highest value is marked.
    logarithmic
        Whether the axis of values is logarithmic where that helps (`spans_decades`).

    Returns
    -------
    str
        SVG as a data URI. From `SMOOTHED_FROM` values on a running mean is drawn over them.
    """
    from matplotlib.ticker import LogLocator, NullLocator

    figure, axes = _figure(size)
    steps, heights = np.array(list(values)), np.array(list(values.values()))
    smooth = len(heights) >= SMOOTHED_FROM
    marker = "o" if len(heights) < 15 else ""
    axes.plot(
        steps, heights, color=_ACCENT, alpha=0.35 if smooth else 1, lw=1.5, marker=marker, ms=4
    )
    if smooth:
        window = max(5, len(heights) // 20) | 1
        padded = np.pad(heights, window // 2, mode="edge")
        axes.plot(
            steps, np.convolve(padded, np.ones(window) / window, "valid"), color=_ACCENT, lw=1.8
        )
    if logarithmic and spans_decades(heights):
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    if best:
        # Equal scores: the later one, as the checkpoint that is kept.
        at = len(heights) - 1 - int(np.argmax(heights[::-1]))
        axes.plot(steps[at], heights[at], "o", ms=8, mfc="none", mec=_WARN, mew=2)
        axes.annotate(
            f"{heights[at]:.3f} at {steps[at]}",
            (steps[at], heights[at]),
            xytext=(0, -16),
            textcoords="offset points",
            ha="right" if at > len(heights) / 2 else "left",
            color=_WARN,
            fontsize=10,
        )
    axes.set_xlabel("step", color=_SOFT, fontsize=9)
    return _svg(figure)


def spans_decades(values: ArrayLike) -> bool:
    """Whether values are positive and the largest is more than ten times the smallest."""
    heights = np.asarray(values, dtype=np.float64)
    return bool((heights > 0).all() and heights.max() > 10 * heights.min())


def difference_bars(differences: Sequence[float], *, size: tuple[float, float] = (7.2, 2.8)) -> str:
    """Draw one bar per case, sorted: how much better (up) or worse (down) one method is."""
    figure, axes = _figure(size)
    heights = np.sort(np.asarray(differences, dtype=np.float64))[::-1]
    colors = [_ACCENT if height >= 0 else _WARN for height in heights]
    axes.bar(np.arange(1, len(heights) + 1), heights, color=colors, width=0.8)
    axes.axhline(0, color=_SOFT, lw=0.8)
    axes.set_xlim(0.3, len(heights) + 0.7)
    axes.set_xlabel("cases, sorted", color=_SOFT, fontsize=9)
    axes.set_ylabel("Dice difference", color=_SOFT, fontsize=9)
    return _svg(figure)


def _figure(size: tuple[float, float]) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=size, layout="constrained")
    figure.patch.set_alpha(0)
    axes = figure.add_subplot()
    axes.patch.set_alpha(0)
    axes.grid(True, axis="y", color=_LINE, lw=0.8)
    axes.set_axisbelow(True)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.tick_params(colors=_SOFT, labelsize=9, length=0)
    axes.tick_params(which="minor", colors=_SOFT, labelsize=8, length=0)
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(_LINE)
    return figure, axes


def _svg(figure: Figure) -> str:
    stream = io.StringIO()
    figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    text = stream.getvalue()
    for color, variable in _VARIABLES.items():
        text = text.replace(color, f"var({variable})")
    head = text.index(">", text.index("<svg")) + 1
    text = text[:head] + _STYLE + text[head:]
    return "data:image/svg+xml;base64," + base64.b64encode(text.encode()).decode()
