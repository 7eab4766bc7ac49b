"""A layout of feature vectors in a plane: t-SNE, told of while it takes shape (openTSNE)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_gemini.correspondence.voxel_sample import FloatArray
from napari_gemini.errors import InputError
from napari_gemini.progress import Cancelled, Reporter, SilentReporter, stop_if_cancelled

#: Called with (iteration, coordinates (n, 2)) while a t-SNE takes shape.
Update = Callable[[int, NDArray[np.float64]], None]

EARLY_ITERATIONS, LATE_ITERATIONS = 250, 500
UPDATE_EVERY = 25


def tsne(
    features: FloatArray,
    *,
    perplexity: float = 30.0,
    seed: int = 0,
    update: Update | None = None,
    reporter: Reporter | None = None,
) -> NDArray[np.float64]:
    """Lay feature vectors out in a plane by t-SNE, starting from their principal components.

    Parameters
    ----------
    features
        ``(n, F)`` of length 1.
    perplexity
        Number of neighbours that count; lowered where there are few voxels.
    seed
        Same seed, same layout.
    update
        Hears of intermediate layouts, the principal components first.
    reporter
        Hears about progress and may cancel.

    Returns
    -------
    ndarray
        ``(n, 2)``.

    Raises
    ------
    InputError
        If there are fewer than 10 voxels.
    Cancelled
        If the reporter asked to stop.
    """
    from openTSNE import TSNE
    from openTSNE.initialization import pca

    reporter = SilentReporter() if reporter is None else reporter
    if len(features) < 10:
        raise InputError(f"A t-SNE needs at least 10 voxels; there are {len(features)}.")
    data = np.asarray(features, dtype=np.float64)
    start = pca(data, random_state=seed)
    if update is not None:
        update(0, np.asarray(start))
    stop_if_cancelled(reporter)
    total = EARLY_ITERATIONS + LATE_ITERATIONS
    seen = 0

    def callback(iteration: int, error: float, coordinates: Any) -> bool:
        nonlocal seen
        seen += UPDATE_EVERY  # openTSNE counts from the start of each of its two phases
        reporter.progress(min(seen, total), total, "Laying voxels out", error=float(error))
        if update is not None:
            update(seen, np.array(coordinates))
        return reporter.cancelled()

    layout = TSNE(
        perplexity=min(perplexity, (len(data) - 1) / 3),
        initialization=start,
        early_exaggeration_iter=EARLY_ITERATIONS,
        n_iter=LATE_ITERATIONS,
        neighbors="exact" if len(data) <= 5000 else "auto",
        callbacks=callback,
        callbacks_every_iters=UPDATE_EVERY,
        random_state=seed,
        n_jobs=1,
    ).fit(data)
    if reporter.cancelled():
        raise Cancelled
    return np.array(layout, dtype=np.float64)
