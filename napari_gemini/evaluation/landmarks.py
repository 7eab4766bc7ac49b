"""Target registration error: how far mapped landmarks end up from where they belong."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from napari_gemini.errors import InputError


def target_registration_error(points_mapped: ArrayLike, points_true: ArrayLike) -> dict[str, float]:
    """Return the distances between mapped points and their true places.

    Parameters
    ----------
    points_mapped, points_true
        Corresponding points in mm of the same space, shape ``(n, 2)`` or ``(n, 3)``.

    Returns
    -------
    dict
        ``mean``, ``median``, ``p95`` and ``max`` in mm, and ``count``.

    Raises
    ------
    InputError
        If the shapes differ, there is no point, or a coordinate is not finite.
    """
    mapped = np.asarray(points_mapped, dtype=np.float64)
    true = np.asarray(points_true, dtype=np.float64)
    if mapped.shape != true.shape or mapped.ndim != 2 or mapped.shape[1] not in (2, 3):
        raise InputError(
            f"Landmarks of shapes {mapped.shape} and {true.shape} do not pair up; both have to be "
            "(n, 2) or (n, 3)."
        )
    if not len(mapped):
        raise InputError("There are no landmarks; place at least one pair.")
    if not (np.isfinite(mapped).all() and np.isfinite(true).all()):
        raise InputError("A landmark has a coordinate that is not a number; remove or correct it.")
    distances = np.linalg.norm(mapped - true, axis=1)
    return {
        "mean": float(distances.mean()),
        "median": float(np.median(distances)),
        "p95": float(np.percentile(distances, 95)),
        "max": float(distances.max()),
        "count": len(distances),
    }
