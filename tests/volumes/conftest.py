"""Arrays that several files of tests write."""

from __future__ import annotations

import numpy as np
import pytest


@pytest.fixture
def ramp() -> np.ndarray:
    return np.arange(5 * 6 * 7, dtype=np.int16).reshape(5, 6, 7)
