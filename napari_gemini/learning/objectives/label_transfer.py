"""Label transfer: the few labels travel along the learned fields and meet the head's labels.

Not in the paper. In the correspondence update of GEMINI-Semi some pairs start from a labelled scan
A. Its labels are carried to B and compared with what the head says of B, and the other way round:

    L_transfer = Dice(W(Y_A, u_AB), P_B) + Dice(W(P_B, u_BA), Y_A).

The deformer so learns to put structures onto structures and not only alike voxels onto each other;
``weights.transfer_to_head`` lets the head learn from carried labels as well. Registration and
segmentation teach each other in this way in DeepAtlas (Xu and Niethammer, MICCAI 2019) and BRBS (He
et al., IEEE TMI 2022).
"""

from __future__ import annotations

from torch import Tensor

from napari_gemini.correspondence.gradient_scaling import scale_gradient
from napari_gemini.correspondence.warp import warp
from napari_gemini.learning.segmentation_loss import soft_dice_loss
from napari_gemini.networks.gemini import GeminiNetwork


def transfer_loss(
    network: GeminiNetwork,
    features: Tensor,
    displacement: Tensor,
    masks: Tensor,
    counted: Tensor,
    head_weight: float,
) -> Tensor:
    """Return the disagreement of carried and predicted labels, summed over both directions.

    Parameters
    ----------
    network
        Its head labels the second scans.
    features
        (2 B, F, *S) of the first scans, then of the second.
    displacement
        (2 B, d, *S) in voxels: first scans onto second, then second onto first.
    masks
        (B, C, *S) labels of the first scans.
    counted
        (2 B, 1, *S) voxels that count, as for the similarities.
    head_weight
        The gradient to the head, and through it to the backbone, is multiplied by this; that to
        the fields is not.

    Returns
    -------
    Tensor
        Scalar, the mean over pairs of ``2 - Dice(W(Y_A, u_AB), P_B) - Dice(W(P_B, u_BA), Y_A)``.
    """
    onto_second, onto_first = displacement.chunk(2)
    counted_second, counted_first = counted.chunk(2)
    logits = network.segment(features.chunk(2)[1]).float()
    predicted = logits.sigmoid() if network.config.overlapping else logits.softmax(1)
    predicted = scale_gradient(predicted, head_weight)
    there = soft_dice_loss(predicted, warp(masks, onto_second), counted_second)
    back = soft_dice_loss(warp(predicted, onto_first), masks, counted_first)
    return there + back
