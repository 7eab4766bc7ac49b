"""Cross-entropy plus Dice for few labels, exclusive or overlapping, with voxels to ignore."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

SMOOTH = 1.0


def soft_dice_loss(probabilities: Tensor, target: Tensor, valid: Tensor | None = None) -> Tensor:
    """One minus the soft Dice with squared denominators, averaged over samples and classes.

    Parameters
    ----------
    probabilities, target
        (B, C, *S), values in [0, 1]; background counts as a class where it is a channel.
    valid
        (B, 1, *S) weights; 0 takes a voxel out.

    Returns
    -------
    Tensor
        Scalar ``1 - (2 sum(y p) + 1) / (sum y^2 + sum p^2 + 1)``.
    """
    if valid is not None:
        probabilities, target = probabilities * valid, target * valid
    axes = tuple(range(2, target.ndim))
    overlap = (probabilities * target).sum(axes)
    size = probabilities.square().sum(axes) + target.square().sum(axes)
    return 1 - ((2 * overlap + SMOOTH) / (size + SMOOTH)).mean()


def segmentation_loss(
    logits: Tensor, target: Tensor, *, overlapping: bool = False, ignore: int | None = None
) -> Tensor:
    """Cross-entropy plus Dice, the segmentation task of GEMINI-Semi (Eq. 10).

    Cross-entropy is the usual mean over voxels; the released code also divides by the number of
    classes, which only weakens it.

    Parameters
    ----------
    logits
        (B, C, *S).
    target
        Exclusive labels: integer classes (B, *S). Overlapping: masks (B, C, *S) with 0, 1, and
        `ignore` where a voxel counts for nothing.
    overlapping
        Each channel is a sigmoid of its own instead of one softmax.
    ignore
        Class index that marks voxels to leave out.

    Returns
    -------
    Tensor
        Scalar in float32.
    """
    logits = logits.float()
    if overlapping:
        return _overlapping_loss(logits, target, ignore)
    valid = None
    if ignore is not None:
        valid = target != ignore
        target = torch.where(valid, target, 0)
    entropy = F.cross_entropy(logits, target, reduction="none")
    one_hot = F.one_hot(target, logits.shape[1]).movedim(-1, 1).to(logits.dtype)
    weight = None if valid is None else valid.unsqueeze(1).to(logits.dtype)
    dice = soft_dice_loss(logits.softmax(1), one_hot, weight)
    return _mean(entropy.unsqueeze(1), weight) + dice


def _overlapping_loss(logits: Tensor, masks: Tensor, ignore: int | None) -> Tensor:
    weight = None
    if ignore is not None:
        valid = (masks != ignore).all(dim=1, keepdim=True)
        masks = torch.where(valid, masks, 0)
        weight = valid.to(logits.dtype)
    target = masks.to(logits.dtype)
    entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return _mean(entropy, weight) + soft_dice_loss(logits.sigmoid(), target, weight)


def _mean(values: Tensor, weight: Tensor | None) -> Tensor:
    if weight is None:
        return values.mean()
    return (values * weight).sum() / (weight.sum() * values.shape[1]).clamp_min(1)
