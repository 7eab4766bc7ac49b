"""Time updates of a network with our 3D convolution and with PyTorch's own, as a ratio.

    python benchmarks/convolution.py --repeats 3

Each row is one grid and width: a segmentation update of one scan and a correspondence update of one
pair, forward and backward in float32, one thread, our layer and ``torch.nn.Conv3d`` in turns.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from napari_gemini.learning.objectives.base import PairBatch
from napari_gemini.learning.objectives.gemini_semi import gemini_loss
from napari_gemini.learning.segmentation_loss import segmentation_loss
from napari_gemini.networks.conv3d import Conv3d
from napari_gemini.networks.gemini import GeminiNetwork, build_network
from napari_gemini.settings import LossWeights, NetworkSettings

#: Grid and base width.
ROWS = (((32, 32, 32), 8), ((48, 48, 48), 8), ((48, 64, 48), 8), ((48, 64, 48), 16))
CLASSES = 3
Loss = Callable[[GeminiNetwork, tuple[int, ...]], Tensor]


def segmentation(network: GeminiNetwork, shape: tuple[int, ...]) -> Tensor:
    """Return the loss of a segmentation update on noise."""
    target = torch.randint(CLASSES, (1, *shape))
    return segmentation_loss(network.segment(network.features(torch.rand(1, 1, *shape))), target)


def correspondence(network: GeminiNetwork, shape: tuple[int, ...]) -> Tensor:
    """Return the loss of a correspondence update on noise."""
    pair = PairBatch(torch.rand(1, 1, *shape), torch.rand(1, 1, *shape))
    return gemini_loss(network, pair, LossWeights(), 9)["loss"]


def seconds(loss: Loss, network: GeminiNetwork, shape: tuple[int, ...]) -> float:
    """Return the CPU seconds of one update."""
    network.zero_grad(set_to_none=True)
    begin = time.process_time()
    loss(network, shape).backward()  # type: ignore[no-untyped-call]
    return time.process_time() - begin


def use_plain(network: nn.Module, plain: bool) -> None:
    """Let the layers of a network compute as ``torch.nn.Conv3d`` or as they do."""
    for part in network.modules():
        if isinstance(part, Conv3d):
            part.__dict__.pop("forward", None)
            if plain:
                part.forward = nn.Conv3d.forward.__get__(part)  # type: ignore[method-assign]


def main() -> None:
    """Print a table of times and ratios."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    repeats = parser.parse_args().repeats
    torch.set_num_threads(1)
    print("| grid, base width | update | PyTorch's, s | ours, s | times faster |")
    print("|---|---|---|---|---|")
    for shape, width in ROWS:
        network = build_network(
            NetworkSettings(base_width=width, classes=CLASSES, field_stride=2)
        ).train()
        for loss in (segmentation, correspondence):
            best = {True: float("inf"), False: float("inf")}
            for _ in range(repeats + 1):
                for plain in best:
                    use_plain(network, plain)
                    taken = seconds(loss, network, shape)
                    best[plain] = min(best[plain], taken)
            grid = " x ".join(map(str, shape))
            print(
                f"| {grid}, {width} | {loss.__name__} | {best[True]:.2f} | {best[False]:.2f} "
                f"| {best[True] / best[False]:.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
