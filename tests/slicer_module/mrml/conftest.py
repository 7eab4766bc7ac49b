"""Scenes on Slicer's real core (slicer-core). Without it these tests fail, they never skip."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.slicer_module.mrml.helpers import kept_logics, new_scene


@pytest.fixture
def scene() -> Iterator[Any]:
    made = new_scene()
    yield made
    made.Clear(1)
    kept_logics.clear()
