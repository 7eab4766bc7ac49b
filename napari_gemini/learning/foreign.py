"""Checkpoints of the authors' GEMINI and GVSL code: read without running code, names translated.

Their networks have the layout of ours, so weights that somebody holds can be used here. Only names
and shapes are known to this file. A checkpoint is a pickle; it is opened by PyTorch's restricted
reader, which builds tensors and plain containers and refuses everything else.
"""

from __future__ import annotations

import pickle
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from packaging.version import Version
from pydantic import ValidationError
from safetensors.torch import load_file
from torch import Tensor

from napari_gemini.errors import ModelError
from napari_gemini.networks.gemini import build_network
from napari_gemini.settings import NetworkSettings

Kind = Literal["gemini", "gvsl"]

SAFE_TORCH = Version("2.10")
"""Older releases have holes in the restricted reader (CVE-2025-32434, CVE-2026-24747)."""

_CONTAINERS = ("state_dict", "model_state_dict", "model", "net")
_STAGE = {"0": "0.0", "1": "0.1", "3": "1.0", "4": "1.1"}
_DEFORMER = {"1": "fine", "2": "middle", "3": "coarse", "4": "up_middle", "5": "up_fine"}
_RULES: tuple[tuple[re.Pattern[str], Any], ...] = (
    (
        re.compile(r"unet\.inc\.double_conv\.([0134])\.(weight|bias)"),
        lambda m: f"backbone.encoder.0.{_STAGE[m[1]]}.{m[2]}",
    ),
    (
        re.compile(r"unet\.down([1-4])\.maxpool_conv\.1\.double_conv\.([0134])\.(weight|bias)"),
        lambda m: f"backbone.encoder.{m[1]}.{_STAGE[m[2]]}.{m[3]}",
    ),
    (
        re.compile(r"unet\.up([1-4])\.conv\.double_conv\.([0134])\.(weight|bias)"),
        lambda m: f"backbone.decoder.{int(m[1]) - 1}.{_STAGE[m[2]]}.{m[3]}",
    ),
    (
        re.compile(r"deformer\.0\.Conv([1-5])\.one_conv\.([01])\.(weight|bias)"),
        lambda m: f"deformer.{_DEFORMER[m[1]]}.{m[2]}.{m[3]}",
    ),
    (re.compile(r"deformer\.1\.(weight|bias)"), lambda m: f"deformer.flow.{m[1]}"),
    (re.compile(r"res_conv\.([013])\.(weight|bias)"), lambda m: f"head.{m[1]}.{m[2]}"),
)
_FIRST = "unet.inc.double_conv.0.weight"
_HIDDEN, _LAST = "res_conv.0.weight", "res_conv.3.weight"
_GVSL = ("f_conv.", "sp_conv.", "out_flow.", "fc_rot.", "fc_scl.", "fc_trans.", "fc_shear.")
_SHOWN = 5


@dataclass
class ForeignModel:
    """Weights of another code under our names.

    Attributes
    ----------
    kind
        Which code it is from.
    network
        Layout that the weights fit.
    weights
        All weights of that network; parts that the checkpoint lacks are fresh.
    fresh
        Names of those parts (``deformer``, ``head``).
    left_out
        Names in the checkpoint that have no place here.
    """

    kind: Kind
    network: NetworkSettings
    weights: dict[str, Tensor]
    fresh: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


def our_name(name: str) -> str | None:
    """Return our name of a weight of the authors' code, None where it has no place here."""
    for pattern, rename in _RULES:
        match = pattern.fullmatch(name)
        if match:
            return str(rename(match))
    return None


def read_foreign(path: Path, *, overlapping: bool = False) -> ForeignModel:
    """Read a checkpoint of the authors' GEMINI or GVSL code.

    Parameters
    ----------
    path
        ``.pth`` or ``.pt`` (never executed), or ``.safetensors``.
    overlapping
        Whether each output of the head is a label of its own (sigmoid), as in the authors' 2D
        network of the chest; otherwise the first is the background (softmax). Nothing in a
        checkpoint tells the two apart.

    Raises
    ------
    ModelError
        If it cannot be opened safely, is of another code, or its shapes do not fit together; the
        sentence lists what does not fit.
    """
    tensors = _state_dict(_open(path), path)
    network = _network_of(tensors, path, overlapping)
    has_deformer = any(name.startswith("deformer.") for name in tensors)
    is_gvsl = any(name.startswith(_GVSL) for name in tensors)
    torch.manual_seed(0)  # fresh parts are the same in every import
    wanted = build_network(network).state_dict()
    parts = ["backbone", "deformer"] if has_deformer else ["backbone"]
    if network.classes == _classes(tensors):
        parts.append("head")
    found, left_out, wrong = _translate(tensors, wanted, parts)
    missing = [name for name in wanted if name.split(".")[0] in parts and name not in found]
    problems = [f"{name} is missing" for name in _their_names(missing)] + wrong
    if problems:
        more = f" and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise ModelError(
            f"'{path}' does not fit a {network.dimension}D network of base width "
            f"{network.base_width}: {'; '.join(problems[:_SHOWN])}{more}. Only checkpoints of the "
            "authors' unchanged GEMINI and GVSL networks can be imported."
        )
    return ForeignModel(
        kind="gvsl" if is_gvsl and not has_deformer else "gemini",
        network=network,
        weights={**wanted, **found},
        fresh=[part for part in ("deformer", "head") if part not in parts],
        left_out=left_out,
    )


def _open(path: Path) -> Any:
    """Open a checkpoint without running anything in it."""
    if not path.is_file():
        raise ModelError(f"There is no file '{path}': give a checkpoint (.pth, .pt).")
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except MemoryError:
            raise
        except Exception:
            raise ModelError(f"'{path}' is not a safetensors file; copy it again.") from None
    if Version(torch.__version__).release < SAFE_TORCH.release:
        raise ModelError(
            f"PyTorch {torch.__version__} cannot open checkpoints safely: update it to "
            f"{SAFE_TORCH} or newer."
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they are about how PyTorch stores, not about the file
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise ModelError(
            f"'{path}' holds something other than weights, which could run code, and was not "
            "opened: ask for a file with the state_dict alone."
        ) from None
    except MemoryError:
        raise
    except Exception as error:  # a damaged pickle fails with whatever its first odd byte leads to
        raise ModelError(
            f"'{path}' cannot be read ({type(error).__name__}): it is damaged or no checkpoint."
        ) from None


def _state_dict(content: Any, path: Path) -> dict[str, Tensor]:
    """Return the weights by their newest names, without the prefixes of wrappers."""
    for key in _CONTAINERS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
            break
    if not isinstance(content, Mapping):
        raise ModelError(f"'{path}' holds no state_dict: it is not a checkpoint of a network.")
    tensors: dict[str, Tensor] = {}
    for name, value in content.items():
        if not isinstance(value, Tensor):
            continue
        # Data-parallel wrappers, and the name that the backbone had in the first releases.
        clean = re.sub(r"^backbone\.", "unet.", _printable(name).removeprefix("module."))
        tensors[clean] = _plain(value, clean, path)
    return tensors


def _printable(name: Any) -> str:
    """Return a name that neither spoils a terminal nor is refused by a file of text."""
    return "".join(letter if letter.isprintable() else "?" for letter in str(name))


def _plain(value: Tensor, name: str, path: Path) -> Tensor:
    """Return a weight as numbers to compute with.

    Raises
    ------
    ModelError
        If it is stored in another way, or not finite.
    """
    kind = _odd_kind(value)
    finite = None
    if kind is None:
        try:
            value = value.detach().float() if value.is_floating_point() else value
            finite = bool(torch.isfinite(value).all())
        except (NotImplementedError, RuntimeError):  # a type that nothing can be computed with
            kind = str(value.dtype).removeprefix("torch.")
    if kind is not None:
        raise ModelError(
            f"'{path}' has weights that are no plain numbers ({name} is {kind}): ask for a file "
            "with dense weights in single or half precision."
        )
    if not finite:
        raise ModelError(f"'{path}' has weights that are not finite ({name}): it is of no use.")
    return value


def _odd_kind(value: Tensor) -> str | None:
    """Return how a tensor is stored where that is not one real number for each element."""
    if value.is_nested:
        return "nested"
    if value.layout is not torch.strided:
        return str(value.layout).removeprefix("torch.")
    if value.is_quantized:
        return "quantized"
    if value.is_complex():
        return "complex"
    if value.device.type != "cpu":
        return "without values"
    if value.numel() * value.element_size() > value.untyped_storage().nbytes():
        # One number for many elements: a few bytes of a file could fill the memory.
        return "larger than what the file holds"
    return None


def _network_of(tensors: Mapping[str, Tensor], path: Path, overlapping: bool) -> NetworkSettings:
    """Tell the layout from the shapes of the first and the last layer."""
    first = tensors.get(_FIRST)
    if first is None:
        known = ", ".join(sorted({name.split(".")[0] for name in tensors})[:_SHOWN]) or "nothing"
        raise ModelError(
            f"'{path}' is no checkpoint of the authors' GEMINI or GVSL code: it lacks {_FIRST} "
            f"(it has {known})."
        )
    if first.ndim not in (4, 5) or first.shape[1] != 1:
        raise ModelError(
            f"'{path}' is for images of several channels or has no convolutions ({_FIRST} is "
            f"{_shape(first)}): only networks of one channel can be imported."
        )
    try:
        return NetworkSettings.model_validate(
            {
                "dimension": first.ndim - 2,
                "base_width": first.shape[0],
                "classes": max(2, _classes(tensors)),
                "head_width": _head_width(tensors),
                "overlapping": overlapping and bool(_classes(tensors)),
            }
        )
    except ValidationError as error:
        # Each setting that a bound refuses: what the checkpoint has, and what a network here can.
        found = {
            "base_width": (
                f"a base width of {first.shape[0]}",
                "base widths are multiples of 4 from 4 to 128",
            ),
            "head_width": (
                f"{_head_width(tensors)} channels in the head",
                "heads have 1 to 256 channels",
            ),
            "classes": (
                f"{_classes(tensors)} outputs of the head",
                "heads have at most 512 outputs",
            ),
        }
        wrong = dict.fromkeys(str(problem["loc"][0]) for problem in error.errors())
        has, can = zip(*(found[setting] for setting in wrong), strict=True)
        raise ModelError(
            f"'{path}' has {' and '.join(has)}, which no network here has: {', '.join(can)}."
        ) from None


def _classes(tensors: Mapping[str, Tensor]) -> int:
    """Return the outputs of the segmentation head; 0 where it restores images or is another."""
    last = tensors.get(_LAST)
    return int(last.shape[0]) if last is not None and last.ndim > 1 and last.shape[0] > 1 else 0


def _head_width(tensors: Mapping[str, Tensor]) -> int | None:
    """Return the hidden channels of the segmentation head, None where there is none."""
    hidden = tensors.get(_HIDDEN)
    if hidden is None or not hidden.ndim or not _classes(tensors):
        return None
    # An empty one is no linear head, which is what a setting of 0 means.
    return int(hidden.shape[0]) or None


def _translate(
    tensors: Mapping[str, Tensor], wanted: Mapping[str, Tensor], parts: list[str]
) -> tuple[dict[str, Tensor], list[str], list[str]]:
    """Return weights by our names, names without a place, and sentences about wrong shapes."""
    found: dict[str, Tensor] = {}
    left_out: list[str] = []
    wrong: list[str] = []
    for name, value in tensors.items():
        ours = our_name(name)
        if ours is None or ours.split(".")[0] not in parts:
            left_out.append(name)
        elif value.shape != wanted[ours].shape:
            found[ours] = value
            wrong.append(f"{name} is {_shape(value)} instead of {_shape(wanted[ours])}")
        else:
            found[ours] = value.contiguous()
    return found, left_out, wrong


def _their_names(ours: list[str]) -> list[str]:
    """Return the authors' names of some of our weights."""
    names = {our: name for name in _all_names() if (our := our_name(name)) is not None}
    return [names[name] for name in ours]


def _all_names() -> list[str]:
    """Return every name that has a place here."""
    stages = ["unet.inc", *(f"unet.down{k}.maxpool_conv.1" for k in range(1, 5))]
    stages += [f"unet.up{k}.conv" for k in range(1, 5)]
    layers = [f"{stage}.double_conv.{k}" for stage in stages for k in (0, 1, 3, 4)]
    layers += [f"deformer.0.Conv{k}.one_conv.{i}" for k in range(1, 6) for i in (0, 1)]
    layers += ["deformer.1", *(f"res_conv.{k}" for k in (0, 1, 3))]
    return [f"{layer}.{kind}" for layer in layers for kind in ("weight", "bias")]


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "a number"
