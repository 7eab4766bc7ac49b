"""The losses of correspondence in one place, for learning and refinement."""

from __future__ import annotations

from napari_gemini.correspondence.local_ncc import gvs_loss, local_ncc_map, masked_mean
from napari_gemini.correspondence.similarity import cosine_map, gss_loss
from napari_gemini.correspondence.smoothness import smoothness_loss
from napari_gemini.correspondence.warp import comparison_mask, field_of_view_mask

__all__ = [
    "comparison_mask",
    "cosine_map",
    "field_of_view_mask",
    "gss_loss",
    "gvs_loss",
    "local_ncc_map",
    "masked_mean",
    "smoothness_loss",
]
