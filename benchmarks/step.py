"""Time a correspondence step of GEMINI against its literal formulation, and check that both agree.

What training runs: A and B in one batch through the backbone, A to B and B to A in one batch
through the deformer, one feature warp and one cosine for both gradient paths, local correlation by
doubling sums with a closed-form gradient.

The literal formulation (method of the paper, as its released code does it): every image and every
direction by itself, the red and the blue gradient path each with its own warp and cosine and with
stop-gradients, masks by warping a volume of ones, local correlation by five dense convolutions.
Window sums at the border are divided by the voxels that exist in both; how much the released code's
division by the full window changes the loss is printed.

Run ``python benchmarks/step.py [--size 48] [--base-width 16] [--repeats 3] [--threads 2]``. The
check compares float32 of the efficient step with float64 of the literal one (the literal one's own
float32 error is printed beside it) and ends with an error if a loss or the gradient, over all
parameters together, is off by 1e-4; the parameter that is off most is printed, too.
"""

from __future__ import annotations

import argparse
import copy
import sys
import time
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as functional
from torch import Tensor

from napari_gemini.correspondence.warp import warp
from napari_gemini.learning.objectives.base import PairBatch
from napari_gemini.learning.objectives.gemini_semi import gemini_loss
from napari_gemini.networks.gemini import GeminiNetwork, build_network
from napari_gemini.settings import LossWeights, NetworkSettings

TOLERANCE = 1e-4
WINDOW = 9

Step = Callable[[GeminiNetwork, Tensor, Tensor], dict[str, Tensor]]


def efficient_step(network: GeminiNetwork, a: Tensor, b: Tensor) -> dict[str, Tensor]:
    """Return the losses as training computes them, terms summed over both directions."""
    terms = gemini_loss(network, PairBatch(a, b), LossWeights(), WINDOW)
    return {name: value if name == "loss" else 2 * value for name, value in terms.items()}


def dense_gvs(warped: Tensor, fixed: Tensor, mask: Tensor, inside: bool) -> Tensor:
    """Return the masked local correlation loss by dense convolutions."""
    dimension = warped.ndim - 2
    kernel = warped.new_ones((1, 1, *(WINDOW,) * dimension))
    convolve = functional.conv2d if dimension == 2 else functional.conv3d

    def box(image: Tensor) -> Tensor:
        return convolve(image, kernel, padding=WINDOW // 2)

    size = box(torch.ones_like(fixed)) if inside else torch.full_like(fixed, WINDOW**dimension)
    sum_a, sum_b = box(warped), box(fixed)
    mean_a, mean_b = sum_a / size, sum_b / size
    cross = box(warped * fixed) - mean_b * sum_a - mean_a * sum_b + mean_a * mean_b * size
    var_a = box(warped * warped) - 2 * mean_a * sum_a + mean_a * mean_a * size
    var_b = box(fixed * fixed) - 2 * mean_b * sum_b + mean_b * mean_b * size
    cc = cross * cross / (var_a * var_b + 1e-5)
    return 1 - (cc * mask).sum() / (mask.sum() + 1e-5)


def cosine_loss(warped: Tensor, fixed: Tensor, mask: Tensor) -> Tensor:
    """Return one minus the masked mean cosine of features."""
    cosine = (functional.normalize(warped) * functional.normalize(fixed)).sum(1, keepdim=True)
    return 1 - (cosine * mask).sum() / mask.sum()


def literal_direction(
    network: GeminiNetwork,
    images: tuple[Tensor, Tensor],
    features: tuple[Tensor, Tensor],
    inside: bool,
) -> dict[str, Tensor]:
    """Return the terms of one direction, moving onto fixed."""
    (moving, fixed), (f_moving, f_fixed) = images, features
    weights = LossWeights()
    u = network.displacement(f_moving, f_fixed)
    mask = (warp(torch.ones_like(moving), u).detach() > 1 - 1e-5).to(moving.dtype)
    red = cosine_loss(warp(f_moving, u.detach()), f_fixed, mask)
    blue = cosine_loss(warp(f_moving.detach(), u), f_fixed.detach(), mask)
    axes = range(2, u.ndim)
    terms = {
        "gvs": dense_gvs(warp(moving, u), fixed, mask, inside),
        "gss": weights.positive * red + blue,
        "smooth": sum((u.diff(dim=k) ** 2).mean() for k in axes) / len(axes),
    }
    loss = sum(getattr(weights, name) * value for name, value in terms.items())
    return {"loss": loss, **terms}


def literal_step(
    network: GeminiNetwork, a: Tensor, b: Tensor, inside: bool = True
) -> dict[str, Tensor]:
    """Return the losses as they are written down, summed over both directions."""
    f_a, f_b = network.features(a), network.features(b)
    there = literal_direction(network, (a, b), (f_a, f_b), inside)
    back = literal_direction(network, (b, a), (f_b, f_a), inside)
    return {name: there[name] + back[name] for name in there}


def run(step: Step, network: GeminiNetwork, a: Tensor, b: Tensor) -> dict[str, Tensor]:
    """Run forward and backward; return losses and gradients by name, float64."""
    network.zero_grad(set_to_none=True)
    terms = step(network, a, b)
    terms["loss"].backward()
    results = {name: value.detach().double() for name, value in terms.items()}
    for name, parameter in network.named_parameters():
        if parameter.grad is not None:
            results[f"gradient of {name}"] = parameter.grad.double()
    return results


def relative_difference(
    ours: dict[str, Tensor], exact: dict[str, Tensor], names: Sequence[str], least: float = 0.0
) -> float:
    """Return the relative difference of some results, taken together as one vector."""
    difference = sum(float((ours[name] - exact[name]).square().sum()) for name in names)
    norm = sum(float(exact[name].square().sum()) for name in names)
    return (difference / max(norm, least**2)) ** 0.5


def compare(ours: dict[str, Tensor], exact: dict[str, Tensor]) -> dict[str, float]:
    """Return the largest difference of a loss, that of the gradient, and its worst parameter."""
    if ours.keys() != exact.keys():
        raise SystemExit(f"Different parameters have gradients: {ours.keys() ^ exact.keys()}")
    gradients = [name for name in exact if name.startswith("gradient")]
    losses = [name for name in exact if name not in gradients]
    # Some gradients vanish but for rounding (a bias before a normalisation).
    least = 1e-3 * max(float(exact[name].norm()) for name in gradients)
    return {
        "losses": max(relative_difference(ours, exact, [name]) for name in losses),
        "gradient": relative_difference(ours, exact, gradients),
        "worst parameter": max(
            relative_difference(ours, exact, [name], least) for name in gradients
        ),
    }


def best_time(
    step: Step, network: GeminiNetwork, images: Sequence[Tensor], repeats: int, bf16: bool
) -> float:
    """Return the shortest time of a step in seconds, after one to warm up."""
    times = []
    for _ in range(repeats + 1):
        network.zero_grad(set_to_none=True)
        start = time.perf_counter()
        with torch.autocast(images[0].device.type, torch.bfloat16, enabled=bf16):
            loss = step(network, *images)["loss"]
        loss.backward()
        if images[0].is_cuda:
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return min(times[1:])


def smooth_images(shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Return two images with structure, in [0, 1]."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(2, 1, *(max(size // 6, 2) for size in shape), generator=generator)
    mode = "bilinear" if len(shape) == 2 else "trilinear"
    a, b = functional.interpolate(coarse, size=shape, mode=mode).split(1)
    return a, 0.5 * (a + b)


def check(settings: NetworkSettings, size: int, device: str) -> bool:
    """Compare both formulations; print and return whether they agree."""
    torch.manual_seed(0)
    network = build_network(settings).to(device)
    with torch.no_grad():
        # A field of a tenth of a voxel: larger random ones put samples on both sides of voxel
        # borders, where interpolation has a kink and rounding alone changes the gradient.
        network.deformer.flow.weight *= 0.1
    exact_network = copy.deepcopy(network).double()
    a, b = (image.to(device) for image in smooth_images((size,) * settings.dimension))
    exact = run(literal_step, exact_network, a.double(), b.double())
    print(f"agreement with the literal step in float64 (size {size}):")
    for name, step in (("efficient", efficient_step), ("literal", literal_step)):
        found = compare(run(step, network, a, b), exact)
        print(f"  {name + ' float32':18s}", *(f"{key} {found[key]:.1e}  " for key in found))
    efficient, literal = (run(step, network, a, b) for step in (efficient_step, literal_step))
    found = compare(efficient, literal)
    print("  one with the other ", *(f"{key} {found[key]:.1e}  " for key in found))
    # In float64 nothing but the formulation can differ; float32 adds the rounding of the network.
    double = compare(run(efficient_step, exact_network, a.double(), b.double()), exact)
    print("  both in float64    ", *(f"{key} {double[key]:.1e}  " for key in double))
    rounding = {
        name: compare(part, exact)["gradient"]
        for name, part in (("ours", efficient), ("literal", literal))
    }
    same = max(found["losses"], double["losses"], double["gradient"]) < TOLERANCE
    good = same and rounding["ours"] < 1.5 * rounding["literal"]
    released = literal_step(network, a, b, inside=False)["loss"]
    share = float(released.detach()) / float(exact["loss"]) - 1
    print(f"  dividing border windows by the full window changes the loss by {100 * share:+.2f} %")
    return good


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=48)
    parser.add_argument("--check-size", type=int, default=32)
    parser.add_argument("--dimension", type=int, default=3, choices=(2, 3))
    parser.add_argument("--base-width", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    # The paper's start for the deformer, so that the fields compared are not zero.
    settings = NetworkSettings(
        dimension=arguments.dimension, base_width=arguments.base_width, flow_init="kaiming"
    )
    good = check(settings, arguments.check_size, arguments.device)
    network = build_network(settings).to(arguments.device)
    shape = (arguments.size,) * arguments.dimension
    images = [image.to(arguments.device) for image in smooth_images(shape)]
    literal = best_time(literal_step, network, images, arguments.repeats, bf16=False)
    print(f"one step, {'x'.join(map(str, shape))}, width {arguments.base_width}:")
    print(f"  literal    float32   {literal:8.3f} s")
    for bf16 in (False, True):
        seconds = best_time(efficient_step, network, images, arguments.repeats, bf16)
        kind = "bfloat16" if bf16 else "float32"
        print(f"  efficient  {kind:9s} {seconds:8.3f} s   {literal / seconds:5.2f} x faster")
    if not good:
        sys.exit(f"The two formulations differ by more than {TOLERANCE} and rounding.")


if __name__ == "__main__":
    main()
