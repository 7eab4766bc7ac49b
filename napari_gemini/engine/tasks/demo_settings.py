"""How the demo trains: the preset ``quick``, tuned to a small cohort and a few minutes."""

from __future__ import annotations

from typing import Literal

from napari_gemini.settings import TrainSettings, preset

STEPS = {2: 900, 3: 900}
LEARNING_RATE = 1e-3


def demo_settings(dimension: Literal[2, 3], seed: int, steps: int | None = None) -> TrainSettings:
    """Return the settings of both trainings of the demo.

    Parameters
    ----------
    dimension
        2 or 3.
    seed
        Of everything random.
    steps
        Segmentation updates, None for what the demo was tuned to.
    """
    settings = preset("quick", dimension)
    settings.steps = STEPS[dimension] if steps is None else steps
    settings.seed = seed
    # Tuned on phantom cohorts (docs/results.md): the small cohort is learned best at the standard
    # rate, and what the scans without labels teach comes from correspondence at every step.
    settings.learning_rate = LEARNING_RATE
    settings.correspondence_every = 1
    settings.shape_transfer = 0.0
    settings.checkpoint_every = settings.validate_every = max(1, settings.steps // 4)
    return settings
