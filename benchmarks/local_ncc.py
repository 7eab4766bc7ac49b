"""Time the local correlation, forward and backward, against two common formulations.

* dense: five convolutions with a full box of ones, as in the method's released code and VoxelMorph;
* MONAI: ``monai.losses.LocalNormalizedCrossCorrelationLoss`` (separable convolutions).

Run ``python benchmarks/local_ncc.py [--size 64] [--repeats 9] [--threads 1]``. Times are the best
of the repeats, processor time where one thread works, so that other programs disturb less; still,
only the ratios mean something. The gradient's error is relative to the same formula in float64.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
import torch.nn.functional as functional
from torch import Tensor

from napari_gemini.correspondence.local_ncc import gvs_loss

Loss = Callable[[Tensor, Tensor], Tensor]


def dense_loss(window: int, count: str = "full") -> Loss:
    """Return 1 - mean squared correlation with five dense convolutions.

    `count` says what a window at the border is divided by: ``full`` its whole size (released code)
    or ``inside`` the number of voxels it has (ours).
    """

    def box(image: Tensor) -> Tensor:
        kernel = image.new_ones((1, 1, *(window,) * (image.ndim - 2)))
        convolve = functional.conv2d if image.ndim == 4 else functional.conv3d
        return convolve(image, kernel, padding=window // 2)

    def loss(a: Tensor, b: Tensor) -> Tensor:
        size: Tensor | float = float(window ** (a.ndim - 2))
        if count == "inside":
            size = box(torch.ones_like(a[:1]))
        sum_a, sum_b, sum_aa, sum_bb, sum_ab = (box(x) for x in (a, b, a * a, b * b, a * b))
        mean_a, mean_b = sum_a / size, sum_b / size
        cross = sum_ab - mean_b * sum_a - mean_a * sum_b + mean_a * mean_b * size
        var_a = sum_aa - 2 * mean_a * sum_a + mean_a * mean_a * size
        var_b = sum_bb - 2 * mean_b * sum_b + mean_b * mean_b * size
        return 1 - (cross * cross / (var_a * var_b + 1e-5)).mean()

    return loss


def monai_loss(window: int, dimension: int) -> Loss:
    """Return MONAI's loss of the same window."""
    from monai.losses import LocalNormalizedCrossCorrelationLoss

    loss: Loss = LocalNormalizedCrossCorrelationLoss(
        spatial_dims=dimension, kernel_size=window, kernel_type="rectangular"
    )
    return loss


def best_time(loss: Loss, a: Tensor, b: Tensor, repeats: int) -> float:
    """Return the shortest time of a forward and backward pass in ms."""
    alone = not a.is_cuda and torch.get_num_threads() == 1
    clock = time.thread_time if alone else time.perf_counter
    times = []
    for _ in range(repeats + 1):  # the first warms up
        a.grad = None
        start = clock()
        loss(a, b).backward()
        if a.is_cuda:
            torch.cuda.synchronize()
        times.append(clock() - start)
    return 1000 * min(times[1:] or times)


def gradient(loss: Loss, a: Tensor, b: Tensor) -> Tensor:
    leaf = a.detach().clone().requires_grad_()
    loss(leaf, b).backward()
    assert leaf.grad is not None
    return leaf.grad


def gradient_error(loss: Loss, exact: Loss, a: Tensor, b: Tensor) -> float:
    """Return the gradient's error relative to float64."""
    expected = gradient(exact, a.double(), b.double())
    return float((gradient(loss, a, b) - expected).norm() / expected.norm())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--window", type=int, default=9)
    parser.add_argument("--dimension", type=int, default=3, choices=(2, 3))
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    shape = (arguments.size,) * arguments.dimension
    generator = torch.Generator().manual_seed(0)
    a, b = torch.rand(2, 1, 1, *shape, generator=generator)
    b = 0.5 * a + 0.5 * b
    raw = 1000 + 50 * torch.randn(1, 1, *shape, generator=generator)

    def ours(x: Tensor, y: Tensor) -> Tensor:
        return gvs_loss(x, y, window=arguments.window)

    losses: dict[str, Loss] = {
        "ours": ours,
        "monai": monai_loss(arguments.window, arguments.dimension),
        "dense": dense_loss(arguments.window),
    }
    on_device = [x.to(arguments.device) for x in (a, b)]
    on_device[0].requires_grad_()
    times = {
        name: best_time(loss, *on_device, 2 if name == "dense" else arguments.repeats)
        for name, loss in losses.items()
    }
    print(f"{'x'.join(map(str, shape))}, window {arguments.window}, {arguments.threads} thread(s)")
    for name, milliseconds in times.items():
        print(f"  {name:6s} {milliseconds:10.2f} ms   {milliseconds / times['ours']:7.1f} x ours")
    small, small_raw, part = (x[(..., *(slice(32),) * arguments.dimension)] for x in (a, raw, b))
    exact = dense_loss(arguments.window, count="inside")
    full = dense_loss(arguments.window)
    print("gradient error relative to float64, intensities in [0, 1] and raw (1000 +- 50):")
    for name, loss, reference in (("ours", ours, exact), ("dense", full, full)):
        errors = [gradient_error(loss, reference, image, part) for image in (small, small_raw)]
        print(f"  {name:6s} {errors[0]:.1e}   {errors[1]:.1e}")


if __name__ == "__main__":
    main()
