"""A second backbone, MONAI's SwinUNETR, behind the interface of the U-Net (paper, Table 8)."""

from __future__ import annotations

from torch import Tensor, nn

from napari_gemini.networks.blocks import crop_to, pad_to_multiple

MULTIPLE = 32
#: Its coarsest stage normalises over space, which takes at least two voxels.
FEWEST_BLOCKS = 2
FEATURE_STEP = 12


class SwinBackbone(nn.Module):
    """SwinUNETR whose output channels serve as features.

    Parameters
    ----------
    dimension
        2 or 3.
    base_width
        Channels of the output; the transformer's own width is the nearest multiple of 12 above
        three quarters of it, since its attention heads need one.
    in_channels
        Channels of the input image.
    """

    def __init__(self, dimension: int, base_width: int = 32, in_channels: int = 1) -> None:
        super().__init__()
        # MONAI takes a second to import, which the U-Net need not pay.
        from monai.networks.nets import SwinUNETR

        self.out_channels = base_width
        width = FEATURE_STEP * max(1, -(-3 * base_width // (4 * FEATURE_STEP)))
        self.net = SwinUNETR(
            in_channels=in_channels,
            out_channels=base_width,
            feature_size=width,
            spatial_dims=dimension,
        )

    def forward(self, image: Tensor) -> Tensor:
        """Map images (B, C, *S) to features (B, base_width, *S); any size is padded and cropped."""
        x, crop = pad_to_multiple(image, MULTIPLE, FEWEST_BLOCKS)
        return crop_to(self.net(x), crop)
