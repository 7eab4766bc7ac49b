"""The colours of plots: those of napari's theme."""

from __future__ import annotations

from qtpy.QtGui import QColor, QPalette
from qtpy.QtWidgets import QWidget


def theme_colours(widget: QWidget) -> tuple[QColor, QColor]:
    """Return the colours of text and background; the widget's own where napari has none."""
    try:
        from napari.utils.theme import get_theme

        theme = get_theme(_theme_of(widget))
        return QColor(theme.text.as_hex()), QColor(theme.background.as_hex())
    except (ImportError, AttributeError, ValueError):
        palette = widget.palette()
        return (
            palette.color(QPalette.ColorRole.WindowText),
            palette.color(QPalette.ColorRole.Window),
        )


def _theme_of(widget: QWidget) -> str:
    """Return the theme of the window that a widget is in; the preferred one outside of any.

    Each window of napari has a theme of its own, which its key for the theme changes.
    """
    from napari.settings import get_settings

    parent: object = widget
    while isinstance(parent, QWidget):
        viewer = getattr(getattr(parent, "_qt_viewer", None), "viewer", None)
        if viewer is not None:
            return str(viewer.theme)
        parent = parent.parent()
    return str(get_settings().appearance.theme)
