"""Curves in a window: what is drawn is what was given, cheaply."""

from __future__ import annotations

import time

import numpy as np
import pytest

from napari_gemini.widgets.plots.curves import CurvesPlot


@pytest.fixture
def plot(make_napari_viewer) -> CurvesPlot:
    viewer = make_napari_viewer()
    made = CurvesPlot("Losses")
    viewer.window.add_dock_widget(made)
    return made


def test_axes_hold_every_visible_curve(plot):
    plot.set_curves({"a": ([1, 2, 3], [0.5, 4.0, 1.0]), "b": ([1, 10], [-2.0, 0.0])})
    (left, right), (low, high) = plot.limits
    assert left == 0
    assert right >= 10
    assert low < -2
    assert high > 4
    plot.curves["b"].box.setChecked(False)
    (_, right), (low, _) = plot.limits
    assert right < 10
    assert low > -2


def test_a_fixed_range_stays(make_napari_viewer):
    viewer = make_napari_viewer()
    plot = CurvesPlot("Score", y_range=(0.0, 1.0))
    viewer.window.add_dock_widget(plot)
    plot.set_curves({"score": ([1, 2], [0.3, 0.4])})
    assert plot.limits[1] == (0.0, 1.0)


def test_one_point_and_none_and_not_a_number_are_fine(plot):
    plot.set_curves({"a": ([5], [1.0]), "b": ([], []), "c": ([1, 2, 3], [1.0, float("nan"), 2.0])})
    assert len(plot.curves["a"].points) == 1
    assert len(plot.curves["b"].points) == 0
    assert plot.curves["c"].points[:, 0].tolist() == [1, 3]
    plot.clear()
    assert plot.curves == {}


def test_colours_are_told_apart_and_stay(plot):
    plot.set_curves({name: ([1, 2], [1, 2]) for name in "abcd"})
    colours = {name: curve.colour for name, curve in plot.curves.items()}
    assert len(set(colours.values())) == 4
    plot.set_curves({name: ([1, 2], [1, 2]) for name in "bd"})
    assert {n: c.colour for n, c in plot.curves.items()} == {n: colours[n] for n in "bd"}


def test_long_curves_keep_their_peaks_and_cost_little(plot):
    steps = np.arange(1, 40_001)
    values = np.sin(steps / 500)
    values[12_345] = 9.0
    curves = {name: (steps, values + i) for i, name in enumerate("abcd")}
    plot.set_curves(curves)
    points = plot.curves["a"].points
    assert len(points) < 1000
    assert points[:, 1].max() == 9.0
    assert points[-1, 0] == 40_000
    begun = time.perf_counter()
    plot.set_curves(curves)
    assert time.perf_counter() - begun < 0.2
