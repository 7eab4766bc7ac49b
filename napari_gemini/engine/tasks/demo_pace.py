"""How many steps of the demo a machine affords: minutes everywhere, fewer steps if it is slow."""

from __future__ import annotations

import time

import torch

from napari_gemini.engine.device import choose_precision
from napari_gemini.learning.objectives.base import PairBatch
from napari_gemini.learning.objectives.gemini_semi import gemini_loss
from napari_gemini.learning.segmentation_loss import segmentation_loss
from napari_gemini.networks.gemini import build_network
from napari_gemini.settings import TrainSettings

#: Processor seconds for both trainings; the rest of the demo takes another minute or two.
BUDGET = 450.0
#: Fewer show nothing.
FEWEST = 300
#: Steps are a multiple of this, so that small differences in speed change nothing.
_ROUND = 100


def affordable_steps(
    settings: TrainSettings, shape: tuple[int, ...], device: torch.device, budget: float = BUDGET
) -> int:
    """Return how many steps fit into a budget, at most those of the settings.

    Parameters
    ----------
    settings
        Of the demo's trainings.
    shape
        Of a scan.
    device
        Where they run; a GPU always affords all steps.
    budget
        Processor seconds.
    """
    if device.type != "cpu":
        return settings.steps
    affordable = int(budget / seconds_per_step(settings, shape)) // _ROUND * _ROUND
    return min(settings.steps, max(FEWEST, affordable))


def seconds_per_step(settings: TrainSettings, shape: tuple[int, ...]) -> float:
    """Return the processor seconds that a step of both trainings takes here, as measured now."""
    network = build_network(settings.network)
    scans = torch.rand(2, 1, *shape, generator=torch.Generator().manual_seed(0))
    pair = PairBatch(scans[:1], scans[1:])
    target = torch.zeros(1, *shape, dtype=torch.long)
    reduced = choose_precision(settings.precision, "cpu") == "bf16"

    def correspondence() -> None:
        gemini_loss(network, pair, settings.weights, settings.ncc_window)["loss"].backward()

    def segmentation() -> None:
        logits = network.segment(network.features(pair.first))
        segmentation_loss(logits, target).backward()

    seconds = []
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=reduced):
        for update in (correspondence, segmentation):
            update()  # the first time pays for what is set up once
            began = time.process_time()
            update()
            seconds.append(time.process_time() - began)
    # Two trainings segment; one of them also matches pairs, and deforms labelled scans.
    matching = seconds[0] * (1 / settings.correspondence_every + settings.shape_transfer / 3)
    return matching + 2 * seconds[1]
