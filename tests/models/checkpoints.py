"""State dicts with the names and shapes of the authors' code, filled with random numbers."""

from __future__ import annotations

import torch
from torch import Tensor


def block(layers: dict[str, Tensor], name: str, shape: tuple[int, ...], *, norm: bool) -> None:
    """One convolution, and the group norm after it where there is one (the next number)."""
    stem, _, index = name.rpartition(".")
    layers[f"{name}.weight"] = torch.randn(shape)
    layers[f"{name}.bias"] = torch.randn(shape[0])
    if norm:
        layers[f"{stem}.{int(index) + 1}.weight"] = torch.randn(shape[0])
        layers[f"{stem}.{int(index) + 1}.bias"] = torch.randn(shape[0])


def unet(dimension: int, width: int = 32, prefix: str = "unet") -> dict[str, Tensor]:
    """The backbone: five stages down, four up, two convolutions each."""
    layers: dict[str, Tensor] = {}
    kernel = (3,) * dimension
    widths = [width * 2**k for k in range(5)]
    stages = [("inc", 1, widths[0])]
    stages += [(f"down{k}.maxpool_conv.1", widths[k - 1], widths[k]) for k in range(1, 5)]
    stages += [(f"up{k}.conv", widths[4 - k] + widths[5 - k], widths[4 - k]) for k in range(1, 5)]
    for name, before, after in stages:
        stem = f"{prefix}.{name}.double_conv"
        block(layers, f"{stem}.0", (after, before, *kernel), norm=True)
        block(layers, f"{stem}.3", (after, after, *kernel), norm=True)
    return layers


def head(dimension: int, width: int, outputs: int) -> dict[str, Tensor]:
    layers: dict[str, Tensor] = {}
    block(layers, "res_conv.0", (width // 2, width, *(3,) * dimension), norm=True)
    block(layers, "res_conv.3", (outputs, width // 2, *(1,) * dimension), norm=False)
    return layers


def gemini(
    dimension: int, width: int = 32, outputs: int = 1, prefix: str = "unet"
) -> dict[str, Tensor]:
    """A GEMINI checkpoint: backbone, shallow deformer, one head."""
    layers = unet(dimension, width, prefix)
    kernel = (3,) * dimension
    sizes = [(2, 1), (1, 2), (2, 2), (4, 2), (3, 1)]
    for number, (before, after) in enumerate(sizes, 1):
        name = f"deformer.0.Conv{number}.one_conv.0"
        block(layers, name, (after * width, before * width, *kernel), norm=True)
    block(layers, "deformer.1", (dimension, width, *kernel), norm=False)
    return {**layers, **head(dimension, width, outputs)}


def gvsl(width: int = 32) -> dict[str, Tensor]:
    """A GVSL checkpoint: the same backbone, with affine and deformable heads of another kind."""
    layers = unet(3, width)
    for name in ("f_conv", "sp_conv"):
        block(layers, f"{name}.double_conv.0", (16, 2 * width, 3, 3, 3), norm=True)
    block(layers, "out_flow.0", (3, 16, 3, 3, 3), norm=False)
    for name, outputs in (("fc_rot", 3), ("fc_scl", 3), ("fc_trans", 3), ("fc_shear", 6)):
        layers[f"{name}.weight"] = torch.randn(outputs, 8 * width)
        layers[f"{name}.bias"] = torch.randn(outputs)
    return {**layers, **head(3, width, 1)}
