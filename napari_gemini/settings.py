"""Settings of networks, training and refinement: one definition for command line, docks and files.

Every model here is plain data (pydantic, no torch), so forms can be generated from it, it can be
written to ``config.json`` and read back years later. Defaults follow the paper's released training
code unless the field says otherwise.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Precision = Literal["auto", "fp32", "bf16"]
PresetName = Literal["quick", "standard", "paper"]
#: How two images are compared.
Similarity = Literal["correlation", "self-similarity"]
#: The same, or what suits the contrasts of the two.
SimilarityChoice = Literal["auto", "correlation", "self-similarity"]
#: Objectives that need labels, then those that learn from scans alone.
ObjectiveName = Literal[
    "gemini-semi", "supervised", "gemini-mip", "gvsl", "cover", "pix2rep", "pix2rep-v2", "optiml"
]
#: What ``pretrain`` offers.
PRETRAINING = ("gemini-mip", "gvsl", "cover", "pix2rep", "pix2rep-v2", "optiml")


class Settings(BaseModel):
    """Base of all settings: unknown keys are refused, assignments are checked."""

    model_config = ConfigDict(extra="forbid", validate_assignment=True)


class NetworkSettings(Settings):
    """Everything that fixes the layout of a network's weights."""

    dimension: Literal[2, 3] = Field(3, description="2 for images, 3 for volumes")
    backbone: Literal["unet", "swin-unetr"] = Field("unet", description="feature network")
    base_width: int = Field(
        16,
        ge=4,
        le=128,
        description="channels of the finest stage; the paper has 32",
        multiple_of=4,
    )
    classes: int = Field(2, ge=1, le=512, description="output channels of the segmentation head")
    head_width: int | None = Field(
        None,
        ge=0,
        le=256,
        description="channels between features and classes; none: as many as the classes need, "
        "0: a linear head",
    )
    overlapping: bool = Field(False, description="sigmoid per label instead of one softmax")
    field_stride: int = Field(
        1, ge=1, le=4, description="the deformer works on features averaged over this many voxels"
    )
    velocity_steps: int = Field(
        0, ge=0, le=10, description="scaling-and-squaring steps; 0: the paper's plain displacement"
    )
    flow_init: Literal["identity", "kaiming"] = Field(
        "identity", description="how the deformer starts; the released code has kaiming"
    )


def complete_layout(content: Any) -> Any:
    """Return a stored :class:`NetworkSettings`, completed where it is from an older version.

    Before the setting ``head_width`` heads had half as many channels as the backbone.
    """
    width = content.get("base_width") if isinstance(content, dict) else None
    if not isinstance(width, int) or "head_width" in content:
        return content
    return content | {"head_width": width // 2}


class LossWeights(Settings):
    """Weights of the objective's terms (Eq. 2-10; values of the released training code)."""

    gvs: float = Field(1.0, ge=0, description="geometric visual similarity (local NCC)")
    gss: float = Field(0.8, ge=0, description="geometric semantic similarity (feature cosine)")
    positive: float = Field(
        0.1, ge=0, description="share of GSS that trains the features (red path)"
    )
    smooth: float = Field(0.4, ge=0, description="smoothness of the displacement field")
    transfer: float = Field(
        2.0, ge=0, description="disagreement of carried and predicted labels (label transfer)"
    )
    transfer_to_head: float = Field(
        0.0, ge=0, description="how much of label transfer the head feels, the fields feel 1"
    )
    segmentation: float = Field(100.0, ge=0, description="cross-entropy plus Dice")
    restoration: float = Field(
        100.0, ge=0, description="squared error of the restored scan (pre-training)"
    )


class AugmentationSettings(Settings):
    """Random affine in space and random change of intensity."""

    rotation_degrees: float = Field(20.0, ge=0, le=180)
    scale_range: float = Field(0.25, ge=0, lt=1, description="scale is drawn from 1 - r to 1 + r")
    isotropic_scale: bool = Field(True, description="one scale for all axes")
    translation_fraction: float = Field(0.0, ge=0, le=0.5, description="share of the axis length")
    pair_jitter: float = Field(
        0.0, ge=0, le=1, description="share of the above by which the two scans of a pair differ"
    )
    gamma: float = Field(0.0, ge=0, le=1, description="intensity gamma from exp(-g) to exp(g)")
    noise: float = Field(0.0, ge=0, le=0.5, description="largest standard deviation of added noise")


class RestorationSettings(Settings):
    """How scans are damaged for self-restoration; values of the released training code."""

    shuffle_probability: float = Field(0.8, ge=0, le=1, description="of local shuffling")
    intensity_probability: float = Field(
        0.9, ge=0, le=1, description="of the non-linear change of intensity"
    )
    paint_probability: float = Field(
        0.95, ge=0, lt=1, description="of each further painted block after the first"
    )


class PixelSettings(Settings):
    """Pix2Rep: contrast (InfoNCE) and redundancy reduction (Barlow Twins) of single pixels."""

    pixels: int = Field(1000, ge=2, description="pixels compared in a step, over all scans")
    projection: int = Field(256, ge=2, description="channels of the projection head")
    temperature: float = Field(0.53, gt=0, description="of the contrast (pix2rep)")
    redundancy: float = Field(
        5e-3, ge=0, description="weight of off-diagonal correlations (pix2rep-v2)"
    )
    rotation_degrees: float = Field(90.0, ge=0, le=180)
    smallest_crop: float = Field(0.33, gt=0, le=1, description="of the axis length")
    largest_crop: float = Field(0.95, gt=0, le=1, description="of the axis length")
    flip_probability: float = Field(0.7, ge=0, le=1, description="that some axis is flipped")
    intensity_share: float = Field(
        1.0, ge=0, le=1, description="of the published probabilities of intensity changes"
    )

    @model_validator(mode="after")
    def _crops_are_ordered(self) -> PixelSettings:
        if self.smallest_crop > self.largest_crop:
            raise ValueError("smallest_crop has to be at most largest_crop")
        return self


class CoverSettings(Settings):
    """COVER: regression of the vectors of a known transform."""

    neighbourhood: int = Field(7, ge=3, le=11, description="side of what a voxel is compared with")
    groups: tuple[int, int, int, int, int] = Field(
        (4, 4, 4, 1, 1), description="groups that vote at each stage, coarsest first"
    )
    vectors: float = Field(1.0, ge=0, description="weight of the vectors' error")
    consistency: float = Field(1.0, ge=0, description="weight of the features' consistency")
    crop: float = Field(2 / 3, gt=0, le=1, description="share of the axes that a step looks at")
    rotation_degrees: float = Field(
        60.0, ge=0, le=180, description="largest angle; triangular about 0"
    )
    scale_range: float = Field(0.75, ge=0, lt=1, description="scale is drawn from 1 - r to 1 + r")
    translation_fraction: float = Field(0.3, ge=0, le=0.5, description="share of the axis length")
    shear_degrees: float = Field(8.4375, ge=0, le=45)

    @model_validator(mode="after")
    def _neighbourhood_is_odd(self) -> CoverSettings:
        if self.neighbourhood % 2 == 0:
            raise ValueError("neighbourhood has to be odd")
        if min(self.groups) < 1:
            raise ValueError("every stage needs at least one group")
        return self


class TransportSettings(Settings):
    """OPTiML: optimal transport between the dense maps of two views."""

    epsilon: float = Field(0.05, gt=0, description="weight of the entropy in Sinkhorn's plan")
    iterations: int = Field(50, ge=1, le=1000, description="Sinkhorn sweeps")
    transport: float = Field(1.0, ge=0, description="weight of the transport cost")
    variance: float = Field(25.0, ge=0, description="weight of the variance terms")
    covariance: float = Field(1.0, ge=0, description="weight of the covariance terms")
    expansion: int = Field(2048, ge=16, description="length of an expanded vector")
    heads: int = Field(4, ge=1, description="attention heads of CV-SIM")
    tokens: int = Field(16, ge=1, description="tokens that an expanded vector is cut into")

    @model_validator(mode="after")
    def _lengths_fit(self) -> TransportSettings:
        if self.expansion % (self.heads * self.tokens):
            raise ValueError("expansion has to be a multiple of heads times tokens")
        return self


class TrainSettings(Settings):
    """One training run."""

    objective: ObjectiveName = "gemini-semi"
    preset: PresetName | None = Field("standard", description="where the other values came from")
    steps: int = Field(8000, ge=1, description="steps; each makes one or two updates")
    pairs_per_step: int = Field(
        1, ge=1, description="pairs of scans in a correspondence update, scans in a pretext update"
    )
    labelled_per_step: int = Field(1, ge=1, description="labelled scans in a segmentation update")
    correspondence_every: int = Field(
        1, ge=1, description="a correspondence update before every n-th segmentation update"
    )
    shape_transfer: float = Field(
        0.5,
        ge=0,
        le=1,
        description="share of labelled scans that gemini-semi deforms part of the way to the shape "
        "of another scan, labels along; 0 in the paper",
    )
    label_transfer: float = Field(
        0.0,
        ge=0,
        le=1,
        description="share of pairs of gemini-semi that start from a labelled scan, whose labels "
        "are carried over and compared with the head's (label transfer); 0 in the paper",
    )
    use_labels: bool = Field(
        True, description="objectives that learn from scans alone learn from the labels too"
    )
    learning_rate: float = Field(1e-3, gt=0)
    schedule: Literal["polynomial", "constant"] = "polynomial"
    gradient_clip: float | None = Field(None, gt=0)
    weights: LossWeights = Field(default_factory=LossWeights)
    augmentation: AugmentationSettings = Field(default_factory=AugmentationSettings)
    restoration: RestorationSettings = Field(default_factory=RestorationSettings)
    pixel: PixelSettings = Field(default_factory=PixelSettings)
    cover: CoverSettings = Field(default_factory=CoverSettings)
    transport: TransportSettings = Field(default_factory=TransportSettings)
    ncc_window: int = Field(9, ge=3, le=31)
    precision: Precision = "auto"
    seed: int = Field(0, ge=0)
    threads: int | None = Field(None, ge=1, description="CPU threads; none: what torch chooses")
    checkpoint_every: int = Field(200, ge=1)
    validate_every: int = Field(200, ge=1)
    validation_cases: int = Field(
        0, ge=0, description="labelled cases held back; 0: validate on label consistency"
    )
    max_nonfinite: int = Field(20, ge=1, description="consecutive skipped steps that end the run")
    freeze_backbone: bool = False
    network: NetworkSettings = Field(default_factory=NetworkSettings)

    @model_validator(mode="after")
    def _window_is_odd(self) -> TrainSettings:
        if self.ncc_window % 2 == 0:
            raise ValueError("ncc_window has to be odd")
        return self


class RefineSettings(Settings):
    """Instance refinement: the field of one pair is optimised further under the same losses."""

    steps: int = Field(100, ge=0, description="optimiser steps, shared among the levels")
    levels: int = Field(3, ge=1, le=5, description="coarse-to-fine levels, each halves the grid")
    affine_steps: int = Field(
        60, ge=0, description="steps of the affine stage; 0: start from the network's field alone"
    )
    learning_rate: float = Field(0.2, gt=0, description="in nodes of the field, two voxels apart")
    weights: LossWeights = Field(default_factory=LossWeights)
    similarity: Similarity = Field(
        "correlation",
        description="of the images: local correlation, or self-similarity for unlike contrasts",
    )
    ncc_window: int = Field(7, ge=3, le=31)
    velocity_steps: int = Field(6, ge=0, le=10, description="0 optimises a plain displacement")
    symmetric: bool = Field(True, description="both directions are optimised together")
    max_fold_percent: float = Field(0.0, ge=0, description="fold share that the result may have")


def preset(name: PresetName, dimension: Literal[2, 3] = 3) -> TrainSettings:
    """Return the training settings of a preset.

    Parameters
    ----------
    name
        ``quick`` suits a CPU and a first look, ``standard`` a night on a CPU or an hour on a GPU,
        ``paper`` repeats the released training schedule.
    dimension
        2 or 3.

    Returns
    -------
    TrainSettings
        A fresh object that may be changed.
    """
    if name == "quick":
        return TrainSettings(
            preset="quick",
            steps=500,
            # So few steps reach small structures at this rate only (docs/results.md).
            learning_rate=3e-3,
            checkpoint_every=100,
            validate_every=100,
            correspondence_every=2,
            network=NetworkSettings(dimension=dimension, base_width=8, field_stride=2),
        )
    if name == "paper":
        return TrainSettings(
            preset="paper",
            steps=40_000,
            shape_transfer=0,
            learning_rate=1e-4,
            schedule="constant",
            pairs_per_step=1 if dimension == 3 else 5,
            labelled_per_step=1 if dimension == 3 else 5,
            checkpoint_every=500,
            validate_every=1000,
            network=NetworkSettings(dimension=dimension, base_width=32, head_width=16),
        )
    return TrainSettings(
        preset="standard",
        network=NetworkSettings(dimension=dimension, base_width=16),
    )


#: Steps of a pre-training by preset; the last is what the GEMINI paper did.
_PRETRAINING_STEPS: dict[PresetName, int] = {"quick": 500, "standard": 20_000, "paper": 200_000}
#: Highest learning rate of a pre-training, unless asked for.
PRETRAINING_RATE = 1e-3
#: Scans of a step in 2D and 3D, for objectives that compare the scans of a step.
_SCANS_PER_STEP: dict[str, tuple[int, int]] = {
    "pix2rep": (8, 2),
    "pix2rep-v2": (8, 2),
    "optiml": (16, 4),
    "cover": (4, 1),
}


def pretraining_preset(
    objective: str, name: PresetName, dimension: Literal[2, 3] = 3
) -> TrainSettings:
    """Return the settings of a pre-training.

    Parameters
    ----------
    objective
        One of :data:`PRETRAINING`.
    name
        As for :func:`preset`; ``paper`` makes 200,000 steps.
    dimension
        2 or 3.
    """
    data = preset(name, dimension).model_dump()
    data |= {
        "objective": objective,
        "steps": _PRETRAINING_STEPS[name],
        "use_labels": False,
        "shape_transfer": 0.0,
        # The higher rate of `quick` was measured with labels only.
        "learning_rate": min(data["learning_rate"], PRETRAINING_RATE),
    }
    if objective in _SCANS_PER_STEP:
        data["pairs_per_step"] = _SCANS_PER_STEP[objective][dimension - 2]
    if objective == "gvsl":
        # Its loss is the plain sum of correlation, restoration and smoothness.
        data["weights"] |= {"gvs": 1.0, "gss": 0.0, "smooth": 1.0, "restoration": 1.0}
        data["correspondence_every"] = 1
    if objective == "cover":
        data["gradient_clip"] = 1.0
    return TrainSettings.model_validate(data)
