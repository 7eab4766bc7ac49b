"""The colours of plots: those of napari's theme."""

from __future__ import annotations

from qtpy.QtGui import QColor, QPalette
from qtpy.QtWidgets import QWidget


def theme_colours(widget: QWidget) -> tuple[QColor, QColor]:
    """Return the colours of text and background; the widget's own where napari has none."""
    try:
        from napari.settings import get_settings
        from napari.utils.theme import get_theme

        theme = get_theme(get_settings().appearance.theme)
        return QColor(theme.text.as_hex()), QColor(theme.background.as_hex())
    except (ImportError, AttributeError, ValueError):
        palette = widget.palette()
        return (
            palette.color(QPalette.ColorRole.WindowText),
            palette.color(QPalette.ColorRole.Window),
        )
