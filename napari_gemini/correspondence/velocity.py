"""Integration of a stationary velocity field."""

from __future__ import annotations

from torch import Tensor

from napari_gemini.correspondence.warp import compose


def integrate_velocity(velocity: Tensor, steps: int = 7) -> Tensor:
    """Integrate a stationary velocity field over unit time by scaling and squaring.

    Parameters
    ----------
    velocity
        ``(B, d, *S)`` in voxels per unit time.
    steps
        Number of squarings; the field is divided by ``2 ** steps`` first. 0 returns the field
        itself as a displacement.

    Returns
    -------
    Tensor
        ``(B, d, *S)`` displacement of ``exp(velocity)``; that of ``-velocity`` is its inverse.

    Notes
    -----
    Arsigny et al., "A log-Euclidean framework for statistics on diffeomorphisms", MICCAI 2006.
    """
    if steps < 0:
        raise ValueError("steps must not be negative")
    displacement = velocity / 2**steps
    for _ in range(steps):
        displacement = compose(displacement, displacement)
    return displacement
