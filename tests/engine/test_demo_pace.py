"""How many steps the demo makes: all where they can be afforded, fewer on slow machines."""

from __future__ import annotations

import pytest
import torch

from napari_gemini.engine.tasks import demo_pace
from napari_gemini.engine.tasks.demo_settings import demo_settings

SHAPE = (32, 32)


def test_measured_seconds_grow_with_the_scan() -> None:
    settings = demo_settings(2, 0)
    small, large = (demo_pace.seconds_per_step(settings, (side, side)) for side in (32, 160))
    assert 0 < small < large


def test_steps_fit_into_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = demo_settings(2, 0)
    cpu = torch.device("cpu")
    monkeypatch.setattr(demo_pace, "seconds_per_step", lambda *_: 1.0)
    found = {b: demo_pace.affordable_steps(settings, SHAPE, cpu, b) for b in (10, 450, 555, 1e9)}
    assert found == {10: 300, 450: 400, 555: 500, 1e9: settings.steps}
    gpu = torch.device("cuda")
    assert demo_pace.affordable_steps(settings, SHAPE, gpu, budget=1) == settings.steps
