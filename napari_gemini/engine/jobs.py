"""What can be asked of the engine: one model for each command, with the command's options.

A job is plain data. The command line, the docks and other programs make the same jobs, and a job
that was written to a file can be run again. Relative paths are made absolute when a job is made, so
that it means the same in any process.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from napari_gemini.engine.arrays import ArrayRef
from napari_gemini.errors import InputError
from napari_gemini.settings import SimilarityChoice, TrainSettings


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path.expanduser()))


def _model_spec(spec: str | None) -> str | None:
    # A bare word stays as it is: it may be a shipped model's name.
    if spec is None or not (os.sep in spec or "/" in spec or spec.startswith((".", "~"))):
        return spec
    return str(_absolute(Path(spec)))


FilePath = Annotated[Path, AfterValidator(_absolute)]
Device = Annotated[str, Field(pattern=r"^(auto|cpu|cuda|cuda:\d+|mps)$")]
ModelSpec = Annotated[str, AfterValidator(_model_spec), Field(min_length=1)]
#: ``none``: identity plus refinement; no value: the shipped model of the dimension, else ``none``.
OptionalModel = Annotated[str | None, AfterValidator(_model_spec)]
RunName = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]*[A-Za-z0-9_-][A-Za-z0-9._-]*$")]
#: None: 100 steps; 0 takes the network's own field as it is.
RefineSteps = Annotated[int | None, Field(ge=0)]
#: Of the grid to compute on, in mm (pixels where they are unknown); None: what suits the pair.
Spacing = Annotated[float | None, Field(gt=0)]


class Job(BaseModel):
    """Base of all jobs: unknown keys are refused; ``kind`` says which job it is."""

    model_config = ConfigDict(extra="forbid")

    kind: str
    #: What a user can lower when the device runs out of memory.
    memory_advice: ClassVar[str] = "close other programs or use --device cpu"


class PingJob(Job):
    """Ask whether the engine answers; it tells its version and devices."""

    kind: Literal["ping"] = "ping"
    echo: str = ""
    devices: bool = Field(default=False, description="also list devices, which imports torch")


class LoadVolumeJob(Job):
    """Read a file that ITK parses; the voxels come back as a memory-mapped array."""

    kind: Literal["load-volume"] = "load-volume"
    path: FilePath
    volume_index: int | None = Field(default=None, ge=0, description="which volume of a 4D file")
    labels: bool = Field(default=False, description="a label map: integers")


class LoadPairJob(Job):
    """Read what ``correspond`` wrote: report, scans and fields, as memory-mapped arrays."""

    kind: Literal["load-pair"] = "load-pair"
    folder: FilePath


class TrainJob(Job):
    """Train a network on a study; the run folder is the interface while it runs."""

    memory_advice: ClassVar[str] = (
        "use --preset quick, a smaller base width, fewer pairs a step, a coarser study grid, "
        "or --device cpu"
    )
    kind: Literal["train"] = "train"
    study: FilePath
    run: RunName | None = Field(
        default=None, description="name of the run; none: the next free one"
    )
    out: FilePath | None = Field(
        default=None, description="the run folder; none: the folder of that name in the study"
    )
    settings: TrainSettings = Field(default_factory=TrainSettings)
    init: OptionalModel = Field(
        default=None, description="model whose weights the training starts from"
    )
    freeze_backbone: bool = Field(
        default=False, description="same as in the settings, which get it"
    )
    device: Device = "auto"
    resume: bool = False

    @model_validator(mode="after")
    def _settings_say_frozen(self) -> TrainJob:
        if self.freeze_backbone and not self.settings.freeze_backbone:
            self.settings = self.settings.model_copy(update={"freeze_backbone": True})
        return self


class PredictJob(Job):
    """Label the scans of a study, or some images, with a trained model."""

    memory_advice: ClassVar[str] = "use --device cpu or a model of a coarser grid"
    kind: Literal["predict"] = "predict"
    model: ModelSpec
    study: FilePath | None = None
    images: list[FilePath] = Field(default_factory=list)
    out: FilePath | None = Field(default=None, description="none: the study's predictions/<run>")
    device: Device = "auto"
    scheduler: str | None = Field(default=None, description="address of a dask scheduler")

    @model_validator(mode="after")
    def _has_one_input(self) -> PredictJob:
        if (self.study is None) == (not self.images):
            raise ValueError("give either a study or images")
        if self.study is None and self.out is None:
            raise ValueError("give a folder for the results (--out)")
        return self


class CorrespondJob(Job):
    """Find the correspondence of one pair and everything that shows whether to trust it."""

    memory_advice: ClassVar[str] = "use a larger --spacing, a narrower model, or --device cpu"
    kind: Literal["correspond"] = "correspond"
    moving: FilePath
    fixed: FilePath
    out: FilePath
    model: OptionalModel = None
    labels: FilePath | None = Field(default=None, description="labels of the moving image")
    fixed_labels: FilePath | None = Field(
        default=None, description="known labels of the fixed image"
    )
    refine: RefineSteps = None
    similarity: SimilarityChoice = Field(
        default="auto", description="how the refinement compares the scans"
    )
    ignore: FilePath | None = Field(
        default=None, description="mask of fixed regions that count nowhere"
    )
    both: bool = Field(
        default=False, description="write the other direction too, into the folder inverse"
    )
    spacing: Spacing = None
    device: Device = "auto"


class PropagateJob(Job):
    """Carry the labels of one atlas to many targets."""

    memory_advice: ClassVar[str] = "use a larger --spacing, a narrower model, or --device cpu"
    kind: Literal["propagate"] = "propagate"
    atlas: FilePath
    labels: FilePath
    targets: list[FilePath] = Field(min_length=1)
    out: FilePath
    model: OptionalModel = None
    references: FilePath | None = Field(
        default=None, description="folder of the targets' known labels"
    )
    refine: RefineSteps = None
    similarity: SimilarityChoice = Field(
        default="auto", description="how the refinement compares the scans"
    )
    spacing: Spacing = None
    device: Device = "auto"
    scheduler: str | None = Field(default=None, description="address of a dask scheduler")


class EmbedJob(Job):
    """Voxel features to t-SNE to clusters, of one image or of two together."""

    memory_advice: ClassVar[str] = "use a larger --spacing, fewer --samples or --device cpu"
    kind: Literal["embed"] = "embed"
    image: FilePath
    image2: FilePath | None = None
    out: FilePath
    model: OptionalModel = None
    labels: FilePath | None = None
    labels2: FilePath | None = Field(default=None, description="labels of the second image")
    spacing: Spacing = None
    samples: int = Field(
        default=2000, ge=10, le=200_000, description="voxels drawn from each image"
    )
    clusters: int | None = Field(
        default=None,
        ge=2,
        le=100,
        description="for k-means; none: as many as labels, or what separates best",
    )
    seed: int = Field(default=0, ge=0)
    perplexity: float = Field(default=30.0, gt=1)
    device: Device = "auto"


class ExploreJob(Job):
    """Voxel features to t-SNE to clusters for a window: told while it takes shape, not written.

    Notices: ``sample`` (the voxels that were drawn, as arrays) and ``layout`` (coordinates so far).
    Voxels are drawn in the scans' own voxels, so that the same seed draws the same ones whatever
    the model.
    """

    memory_advice: ClassVar[str] = "use a larger spacing or the device cpu"
    kind: Literal["explore"] = "explore"
    image: FilePath
    image2: FilePath | None = None
    labels: FilePath | None = None
    labels2: FilePath | None = None
    model: OptionalModel = None
    spacing: Spacing = None
    samples: int = Field(default=3000, ge=10, le=20_000, description="voxels drawn in all")
    foreground: bool = Field(
        default=True, description="leave out the darkest voxels of a scan without labels"
    )
    clusters: int | None = Field(
        default=None,
        ge=2,
        le=100,
        description="for k-means; none: as many as labels, or what separates best",
    )
    seed: int = Field(default=0, ge=0)
    perplexity: float = Field(default=30.0, gt=1)
    device: Device = "auto"


class ClusterMapJob(Job):
    """Give every voxel of one scan or two the cluster of the drawn voxel with the nearest feature.

    ``image_number``, ``index`` and ``cluster`` are arrays in the client's folder: which image, (d,)
    voxel and cluster (0: none) each drawn voxel has.
    """

    memory_advice: ClassVar[str] = "use a larger spacing or the device cpu"
    kind: Literal["cluster-map"] = "cluster-map"
    image: FilePath
    image2: FilePath | None = None
    model: OptionalModel = None
    spacing: Spacing = None
    image_number: ArrayRef
    index: ArrayRef
    cluster: ArrayRef
    device: Device = "auto"


class ProbeJob(Job):
    """Compare the feature of one voxel with every voxel of the other scan of a pair.

    Without a point the features are only computed and kept for the probes that follow.
    """

    memory_advice: ClassVar[str] = "use a larger spacing, a narrower model, or the device cpu"
    kind: Literal["probe"] = "probe"
    fixed: FilePath
    moving: FilePath
    side: Literal["fixed", "moving"] = Field(
        default="fixed", description="the scan that the point is in"
    )
    point: list[float] | None = Field(default=None, description="RAS mm in that scan's world")
    partner: list[float] | None = Field(
        default=None, description="RAS mm in the other scan, whose similarity is told as well"
    )
    model: OptionalModel = None
    spacing: Spacing = None
    device: Device = "auto"


class EvaluateJob(Job):
    """Score a folder of predictions against a folder of references."""

    kind: Literal["evaluate"] = "evaluate"
    predictions: FilePath
    references: FilePath
    out: FilePath


class PreviewJob(Job):
    """Label one scan of a study with a checkpoint of a training that goes on; writes nothing."""

    memory_advice: ClassVar[str] = "use --device cpu"
    kind: Literal["preview"] = "preview"
    study: FilePath
    case: str = Field(min_length=1)
    model: ModelSpec
    device: Device = "auto"


class NewStudyJob(Job):
    """Make a study from images and, where there are some, labels."""

    kind: Literal["new-study"] = "new-study"
    folder: FilePath = Field(description="a folder that does not exist yet or is empty")
    images: list[FilePath] = Field(min_length=1, description="files or folders; they stay there")
    labels: FilePath | None = Field(
        default=None, description="folder of label maps named like the images"
    )
    align: Literal["center", "affine"] = Field(
        default="center",
        description="how scans are laid over each other: centres of mass, or an affine fit",
    )
    spacing: float | None = Field(
        default=None, gt=0, description="voxel size of the study grid in mm; none: the scans' own"
    )
    names: dict[int, str] = Field(
        default_factory=dict, description="name of each label; none: from the labels found"
    )
    volumes: dict[str, int] = Field(
        default_factory=dict, description="which volume of its 4D file a case is, by case"
    )


class FindImagesJob(Job):
    """Look for the images of a study that were moved; nothing is changed."""

    kind: Literal["find-images"] = "find-images"
    study: FilePath
    sources: list[FilePath] = Field(min_length=1, description="folders or files to look in")


class NextCaseJob(Job):
    """Rank unlabelled cases by how poorly the labelled ones cover them."""

    memory_advice: ClassVar[str] = "use --device cpu or no model"
    kind: Literal["next-case"] = "next-case"
    study: FilePath
    model: ModelSpec = Field(
        default="none", description="whose features compare cases; none: the images do"
    )
    device: Device = "auto"


AnyJob = (
    PingJob
    | LoadVolumeJob
    | LoadPairJob
    | TrainJob
    | PredictJob
    | CorrespondJob
    | PropagateJob
    | EmbedJob
    | ExploreJob
    | ClusterMapJob
    | ProbeJob
    | EvaluateJob
    | PreviewJob
    | NewStudyJob
    | FindImagesJob
    | NextCaseJob
)
JOB_ADAPTER: TypeAdapter[AnyJob] = TypeAdapter(Annotated[AnyJob, Field(discriminator="kind")])

JobType = TypeVar("JobType", bound=Job)

_JOBS: dict[str, type[Job]] = {}


def register_job(job_class: type[Job]) -> type[Job]:
    """Make a job known by its ``kind``; works as a class decorator.

    Raises
    ------
    ValueError
        If another class has that kind.
    """
    kind = job_class.model_fields["kind"].default
    if _JOBS.setdefault(kind, job_class) is not job_class:
        raise ValueError(f"the job kind {kind!r} is taken by {_JOBS[kind].__name__}")
    return job_class


for _job_class in (
    PingJob,
    LoadVolumeJob,
    LoadPairJob,
    TrainJob,
    PredictJob,
    CorrespondJob,
    PropagateJob,
    EmbedJob,
    ExploreJob,
    ClusterMapJob,
    ProbeJob,
    EvaluateJob,
    PreviewJob,
    NewStudyJob,
    FindImagesJob,
    NextCaseJob,
):
    register_job(_job_class)


def job_kinds() -> list[str]:
    """Return every known kind of job."""
    return sorted(_JOBS)


def parse_job(data: Any) -> Job:
    """Make a job from the dictionary that JSON gave.

    Raises
    ------
    InputError
        If the kind is unknown or an option is wrong; the sentence names the first wrong option.
    """
    kind = data.get("kind") if isinstance(data, dict) else None
    job_class = _JOBS.get(kind) if isinstance(kind, str) else None
    if job_class is None:
        raise InputError(f"There is no job {kind!r}; choose one of {', '.join(job_kinds())}.")
    return make_job(job_class, **data)


def make_job(job_class: type[JobType], **options: Any) -> JobType:
    """Make a job from options, with a sentence instead of a validation report when one is wrong.

    Raises
    ------
    InputError
        If an option is wrong or missing.
    """
    try:
        return job_class.model_validate(options)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        what = first["msg"].removeprefix("Value error, ").strip()
        kind = job_class.model_fields["kind"].default
        name = f"option {where!r} of {kind}" if where else f"job {kind}"
        raise InputError(f"The {name} cannot be used: {what}.") from error
