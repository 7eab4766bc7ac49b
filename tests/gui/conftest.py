"""Windows in tests: a display, an orderly end, and no dock or engine left behind."""

from __future__ import annotations

import os
import sys

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/gui" in item.path.as_posix():
            item.add_marker("gui")


@pytest.fixture(autouse=True)
def _needs_a_display() -> None:
    if sys.platform.startswith("linux") and not (
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    ):
        pytest.skip("no display: run under xvfb-run, as `make test` does")
