"""Time one correspondence update of GEMINI against its literal formulation, and check they agree.

    python benchmarks/step.py [--shape 48 64 48] [--width 16] [--repeats 3] [--threads 1]

Literal: each scan and each direction goes through the network by itself, every similarity warps
the features anew (red and blue path apart), and the local correlation is five dense convolutions.
Ours: A with B and AB with BA in one batch, one feature warp and one cosine for both paths by
gradient scaling, box sums by doubling with a closed-form gradient. Both in float32; losses and
gradients have to agree to 1e-4. The third line is ours in bfloat16, as training uses it where the CPU has it.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
import torch.nn.functional as functional
from torch import Tensor

from napari_gemini.correspondence.local_ncc import NOISE_FLOOR
from napari_gemini.correspondence.similarity import cosine_map
from napari_gemini.correspondence.warp import field_of_view_mask, warp
from napari_gemini.learning.objectives.base import PairBatch
from napari_gemini.learning.objectives.gemini_semi import gemini_loss
from napari_gemini.networks.gemini import GeminiNetwork, build_network
from napari_gemini.settings import LossWeights, NetworkSettings

WINDOW = 9
TOLERANCE = 1e-4


def dense_gvs(warped: Tensor, fixed: Tensor, mask: Tensor) -> Tensor:
    """Return 1 - masked mean of the local correlation, with five dense convolutions."""
    kernel = torch.ones(1, 1, *[WINDOW] * (warped.ndim - 2))
    convolve = functional.conv2d if warped.ndim == 4 else functional.conv3d

    def box(x: Tensor) -> Tensor:
        return convolve(x, kernel, padding=WINDOW // 2)

    a, b = warped - warped.mean(), fixed - fixed.mean()
    count = box(torch.ones_like(a))
    sum_a, sum_b = box(a), box(b)
    cross = box(a * b) - sum_a * sum_b / count
    variances = (box(a * a) - sum_a**2 / count) * (box(b * b) - sum_b**2 / count)
    cc = cross**2 / (variances + NOISE_FLOOR)
    return 1 - (cc * mask).sum() / mask.sum()


def literal_loss(network: GeminiNetwork, batch: PairBatch, weights: LossWeights) -> Tensor:
    """Return the correspondence loss as it is written down, one direction at a time."""
    images = [batch.first, batch.second]
    features = [network.features(image) for image in images]
    total = torch.zeros(())
    for a, b in ((0, 1), (1, 0)):
        field = network.displacement(features[a], features[b])
        mask = field_of_view_mask(field)

        def gss(moved: Tensor, fixed: Tensor, mask: Tensor = mask) -> Tensor:
            return 1 - (cosine_map(moved, fixed) * mask).sum() / mask.sum()

        red = gss(warp(features[a], field.detach()), features[b])
        blue = gss(warp(features[a].detach(), field), features[b].detach())
        axes = range(2, field.ndim)
        smooth = sum(field.diff(dim=axis).square().mean() for axis in axes) / (field.ndim - 2)
        gvs = dense_gvs(warp(images[a], field), images[b], mask)
        total = total + weights.gss * (blue + weights.positive * red)
        total = total + weights.gvs * gvs + weights.smooth * smooth
    return total


def measure(
    network: GeminiNetwork, loss: Callable[[], Tensor], repeats: int
) -> tuple[float, float, Tensor]:
    """Return the best time of forward and backward, the loss and the backbone's gradient."""
    best = float("inf")
    for _ in range(repeats + 1):  # the first one warms up
        network.zero_grad(set_to_none=True)
        started = time.perf_counter()
        value = loss()
        value.backward()
        best = min(best, time.perf_counter() - started)
    gradient = torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None])
    return best, float(value.detach()), gradient


def smooth_image(shape: tuple[int, ...], seed: int) -> Tensor:
    """Return a random image with structure, (1, 1, *S) in [0, 1]."""
    coarse = torch.rand(1, 1, *[max(2, n // 6) for n in shape], generator=torch.manual_seed(seed))
    mode = "bilinear" if len(shape) == 2 else "trilinear"
    return functional.interpolate(coarse, size=shape, mode=mode, align_corners=False)


def main() -> None:
    """Print times, ratio and agreement."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", type=int, nargs="+", default=[48, 64, 48])
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    shape = tuple(options.shape)
    torch.manual_seed(0)
    settings = NetworkSettings(dimension=len(shape), base_width=options.width, flow_init="kaiming")
    network = build_network(settings)
    # A field of about a tenth of a voxel: away from the kinks of interpolation, where gradients
    # of equal formulations differ by rounding.
    with torch.no_grad():
        network.deformer.flow.weight *= 0.1
    batch = PairBatch(smooth_image(shape, 1), smooth_image(shape, 2))
    weights = LossWeights()

    def ours() -> Tensor:
        return gemini_loss(network, batch, weights, WINDOW)["loss"]

    def reduced() -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return ours()

    slow, expected, wanted = measure(
        network, lambda: literal_loss(network, batch, weights), options.repeats
    )
    fast, value, gradient = measure(network, ours, options.repeats)
    half, _, _ = measure(network, reduced, options.repeats)
    loss_error = abs(value - expected) / abs(expected)
    gradient_error = float((gradient - wanted).norm() / wanted.norm())
    print(f"grid {shape}, width {options.width}, {options.threads} thread(s)")
    print(f"literal        {slow:7.3f} s")
    print(f"ours, float32  {fast:7.3f} s   {slow / fast:.2f} times faster")
    print(f"ours, bfloat16 {half:7.3f} s   {slow / half:.2f} times faster")
    print(f"relative difference in float32: loss {loss_error:.1e}, gradient {gradient_error:.1e}")
    if max(loss_error, gradient_error) > TOLERANCE:
        raise SystemExit("The two formulations do not agree.")


if __name__ == "__main__":
    main()
