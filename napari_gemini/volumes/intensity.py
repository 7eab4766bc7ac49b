"""Bring the values of scans to a common range from 0 to 1."""

from __future__ import annotations

from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from napari_gemini.volumes.volume import Volume

IntensityMode = Literal["ct", "percentile", "uint8"]

MODES: tuple[IntensityMode, ...] = ("ct", "percentile", "uint8")

# Hounsfield units; the window of the paper's cardiac task.
_CT_RANGE = (-1024.0, 1024.0)
_PERCENTILES = (0.5, 99.5)
# Percentiles of large scans are taken from a regular subset: exact enough, and quick.
_MOST_VALUES = 2_000_000


def choose_intensity_mode(volume: Volume) -> IntensityMode:
    """Decide how the values of a scan are brought to [0, 1].

    Parameters
    ----------
    volume
        The scan.

    Returns
    -------
    str
        ``uint8`` for 8-bit pictures without spacing (PNG), ``ct`` for Hounsfield units (air well
        below -500 and bone or contrast above 150), ``percentile`` for everything else.
    """
    if not volume.spacing_known and volume.data.dtype == np.uint8:
        return "uint8"
    return _ct_or_percentile(volume.data)


def normalise(data: NDArray[Any], mode: str = "auto") -> NDArray[np.float32]:
    """Map values to [0, 1].

    Parameters
    ----------
    data
        Array of any shape without NaN.
    mode
        ``ct`` clips to [-1024, 1024] HU, ``percentile`` clips to the 0.5th and 99.5th percentile,
        ``uint8`` divides by 255, ``auto`` decides between the first two by the values.

    Returns
    -------
    ndarray
        float32 in [0, 1], same shape. A constant array gives zeros.

    Raises
    ------
    ValueError
        If the mode is none of these.
    """
    if mode == "auto":
        mode = _ct_or_percentile(data)
    if mode == "ct":
        low, high = _CT_RANGE
    elif mode == "percentile":
        low, high = robust_range(data)
    elif mode == "uint8":
        low, high = 0.0, 255.0
    else:
        raise ValueError(f"the intensity mode is one of {', '.join(MODES)} or auto, not {mode}")
    if high <= low:
        return np.zeros(data.shape, dtype=np.float32)
    # In float64 where float32 could not tell the values apart.
    wide = data.dtype.itemsize > 4 or (data.dtype.kind in "iu" and data.dtype.itemsize > 2)
    scaled: NDArray[np.floating] = data.astype(np.float64 if wide else np.float32)
    scaled -= low
    scaled /= high - low
    return cast(NDArray[np.float32], np.clip(scaled, 0.0, 1.0).astype(np.float32, copy=False))


def robust_range(data: NDArray[Any]) -> tuple[float, float]:
    """Give the 0.5th and 99.5th percentile, or minimum and maximum where those coincide."""
    values = _subset(data)
    low, high = (float(value) for value in np.percentile(values, _PERCENTILES))
    if high <= low:
        low, high = float(data.min()), float(data.max())
    return low, high


def _ct_or_percentile(data: NDArray[Any]) -> IntensityMode:
    lowest = float(data.min())
    if data.dtype.kind == "u" or not -4096 <= lowest <= -500:
        return "percentile"
    values = _subset(data)
    if lowest < -1100:  # below air: what scanners pad a round field of view with
        values = values[values > lowest]
    low, high = (float(value) for value in np.percentile(values, (5, 99.5)))
    return "ct" if -1100 <= low < -500 and 0 < high < 4096 else "percentile"


def _subset(data: NDArray[Any]) -> NDArray[Any]:
    step = max(1, data.size // _MOST_VALUES)
    # The step is odd so that it does not fall into step with the rows of the array.
    return np.ravel(data, order="K")[:: step | 1]
