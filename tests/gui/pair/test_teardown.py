"""Nothing stays when the dock, the partner's canvas or the window is closed."""

from __future__ import annotations

import gc
import weakref

import pytest
from napari.qt import QtViewer

from napari_gemini.widgets.pair.shown import ours
from tests.gui.pair.helpers import make_pair


def collected(qtbot, wanted):
    """Whether only so many canvases are left once Qt and Python have tidied up."""
    for _ in range(40):
        qtbot.wait(25)
        gc.collect()
        if canvases() == wanted:
            return True
    return False


def canvases():
    return len(QtViewer._instances)


@pytest.mark.parametrize("how", ["dock", "partner", "window"])
def test_nothing_stays(open_pair, qtbot, how):
    viewer, dock, session = open_pair(make_pair())
    dock.evidence_panel.grid.setChecked(True)
    dock.look_panel.view.setCurrentIndex(1)
    dock.look_panel.mode.setCurrentIndex(dock.look_panel.mode.findData("blink"))
    partner = weakref.ref(dock.partner)
    view = weakref.ref(dock.view)
    before = canvases()
    if how == "partner":
        # The cross of its title bar.
        viewer.window.remove_dock_widget(dock.partner)
        assert collected(qtbot, before - 1)
        assert session.pair is None
        assert not dock.look_panel.isEnabled()
        assert ours(viewer) == []
        session.set_pair(make_pair())  # the dock still works
        assert dock.partner.alive
        return
    this = weakref.ref(dock)
    if how == "dock":
        viewer.window.remove_dock_widget(dock)
        assert ours(viewer) == []
        assert viewer.mouse_move_callbacks == []
    else:
        viewer.close()
    del dock
    assert collected(qtbot, before - (1 if how == "dock" else 2))
    assert view() is None or view()._closed
    assert partner() is None or not partner().alive
    if how == "dock":
        assert this() is None or this()._torn_down
        session.set_pair(make_pair())  # nobody listens any more
        assert ours(viewer) == []
