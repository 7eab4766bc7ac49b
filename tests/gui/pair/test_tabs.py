"""Tabs in a scrolling dock."""

from __future__ import annotations

from qtpy.QtWidgets import QLabel, QScrollArea, QVBoxLayout, QWidget

from napari_gemini.widgets.pair.tabs import Tabs


def page(height: int, words: str) -> QWidget:
    found = QWidget()
    layout = QVBoxLayout(found)
    label = QLabel(words)
    label.setWordWrap(True)
    layout.addWidget(label)
    block = QWidget()
    block.setFixedHeight(height)
    layout.addWidget(block)
    layout.addStretch(1)
    return found


def test_only_a_page_that_is_too_high_scrolls(qtbot):
    tabs = Tabs()
    for height in (50, 700):
        tabs.addTab(page(height, "words that wrap " * 12), str(height))
    inner = QWidget()
    QVBoxLayout(inner).addWidget(tabs)
    scroll = QScrollArea()
    scroll.setWidgetResizable(True)
    scroll.setWidget(inner)
    qtbot.addWidget(scroll)
    scroll.resize(300, 400)
    scroll.show()
    qtbot.waitExposed(scroll)
    bar = scroll.verticalScrollBar()
    qtbot.waitUntil(lambda: bar.maximum() == 0)
    assert tabs.height() > 300  # all of the room is used
    tabs.setCurrentIndex(1)
    qtbot.waitUntil(lambda: bar.maximum() > 300)
    assert tabs.currentWidget().height() >= 700
    tabs.setCurrentIndex(0)
    qtbot.waitUntil(lambda: bar.maximum() == 0)
