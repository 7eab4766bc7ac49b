"""GEMINI's network: a shared backbone, the deformer and a segmentation head in one module."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from napari_gemini.networks.deformer import Deformer
from napari_gemini.networks.heads import Head
from napari_gemini.networks.swin import SwinBackbone
from napari_gemini.networks.unet import UNet
from napari_gemini.networks.velocity import integrate_velocity
from napari_gemini.settings import NetworkSettings

#: Backbones by name: (dimension, base width) -> module with ``out_channels``.
BACKBONES: dict[str, Callable[[int, int], nn.Module]] = {"unet": UNet, "swin-unetr": SwinBackbone}


class GeminiNetwork(nn.Module):
    """Backbone N_theta, deformer D_xi and segmentation head.

    Parameters
    ----------
    settings
        Layout of the network; kept as ``config``.
    """

    def __init__(self, settings: NetworkSettings) -> None:
        super().__init__()
        self.config = settings
        dimension, width = settings.dimension, settings.base_width
        self.backbone = BACKBONES[settings.backbone](dimension, width)
        self.deformer = Deformer(dimension, width, settings.field_stride, settings.flow_init)
        self.head = Head(dimension, width, settings.classes, settings.head_width)

    def features(self, image: Tensor) -> Tensor:
        """Return one feature vector for each voxel: (B, 1, *S) -> (B, F, *S)."""
        return self.backbone(image)

    def displacement(self, moving: Tensor, fixed: Tensor) -> Tensor:
        """Return the field (B, d, *S), in voxels of the fixed grid, from two feature maps.

        ``warped(p) = moving(p + u(p))``. With ``velocity_steps`` the deformer's output is taken as
        a stationary velocity and integrated, else it is the displacement itself, as in the paper.
        """
        field = self.deformer(moving, fixed).float()
        if self.config.velocity_steps:
            field = integrate_velocity(field, self.config.velocity_steps)
        return field

    def segment(self, features: Tensor) -> Tensor:
        """Return logits (B, classes, *S) from features (B, F, *S)."""
        return self.head(features)


def build_network(settings: NetworkSettings) -> GeminiNetwork:
    """Build a network with fresh weights (seed torch before, to repeat them)."""
    return GeminiNetwork(settings)
