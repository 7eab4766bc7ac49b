"""``study.json``: what a study knows about itself."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from napari_gemini.errors import StudyError, first_problem
from napari_gemini.study.naming import ID_PATTERN
from napari_gemini.study.scheme import LabelScheme
from napari_gemini.volumes.atomic import write_json_atomic
from napari_gemini.volumes.grid import StudyGrid

SCHEMA_VERSION = 1
STUDY_FILE = "study.json"
NEAR = 3
"""An image at most this many folders up also gets a relative path."""

Role = Literal["labelled", "unlabelled", "test"]
Status = Literal["todo", "started", "done"]
Align = Literal["center", "affine"]


class Case(BaseModel):
    """One scan of a study.

    Attributes
    ----------
    id
        Name, ``[A-Za-z0-9._-]+``.
    image
        Absolute path of the image (for DICOM, its folder), which is only ever read.
    relative
        The same relative to the study folder when it lies near, so that both can move together.
    role
        Whether labels exist (or are to be made by hand), are wanted, or the case is kept for the
        final score.
    status
        How far labelling by hand has come.
    person
        What scans of one person share.
    group
        What scans that may be paired share (view, sex, region); None where all may be.
    shape
        Voxels along each axis of the file (of one volume of a 4D file).
    volume_index
        Which volume of a 4D file the case is; None for other files.
    label_suffix
        Format of the case's labels.
    """

    model_config = ConfigDict(extra="allow", validate_assignment=True)

    id: str
    image: str
    relative: str | None = None
    role: Role = "unlabelled"
    status: Status = "todo"
    person: str | None = None
    group: str | None = None
    shape: tuple[int, ...]
    volume_index: int | None = Field(default=None, ge=0)
    label_suffix: Literal[".nii.gz", ".png"] = ".nii.gz"

    @field_validator("id")
    @classmethod
    def _can_be_a_file_name(cls, value: str) -> str:
        if not ID_PATTERN.fullmatch(value):
            raise ValueError("a case id consists of letters, digits, dot, dash and underscore")
        return value


class GridFile(BaseModel):
    """The study grid as it is stored."""

    model_config = ConfigDict(extra="allow")

    shape: tuple[int, ...] = Field(min_length=2, max_length=3)
    spacing: float | tuple[float, ...]

    def to_grid(self) -> StudyGrid:
        """Return the grid."""
        return StudyGrid(self.shape, self.spacing)


class StudyFile(BaseModel):
    """Everything in ``study.json``; keys that this version does not know are kept.

    Attributes
    ----------
    schema_version
        Version of this layout.
    dimension
        2 or 3.
    spacing_known
        False when no image says how large its pixels are: lengths are pixels then.
    scheme
        The labels.
    grid
        The study grid.
    align
        How scans reach the grid: by their centre of mass, or by an affine fit.
    reference
        The case that an affine fit aligns all others to.
    created, software
        When and by what version the study was made.
    cases
        The scans.
    """

    model_config = ConfigDict(extra="allow", validate_assignment=True)

    schema_version: int = SCHEMA_VERSION
    dimension: Literal[2, 3]
    spacing_known: bool = True
    scheme: LabelScheme
    grid: GridFile
    align: Align = "center"
    reference: str | None = None
    created: str = ""
    software: str = ""
    cases: list[Case]

    @field_validator("cases")
    @classmethod
    def _each_case_once(cls, cases: list[Case]) -> list[Case]:
        names = [case.id for case in cases]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"the case {twice[0]} is listed twice")
        return cases


def relative_path(image: Path, folder: Path) -> str | None:
    """Return an image's path relative to a study folder when it lies inside or near."""
    try:
        relative = Path(os.path.relpath(image, folder))
    except ValueError:  # another drive (Windows)
        return None
    ups = sum(part == ".." for part in relative.parts)
    # A path that climbs to the root is not near, however short it is.
    if ups > NEAR or ups >= len(Path(os.path.abspath(folder)).parts) - 1:
        return None
    return relative.as_posix()


def read_study_file(folder: Path) -> StudyFile:
    """Read ``study.json``.

    Raises
    ------
    StudyError
        If the folder is no study, the file is damaged, or a newer version wrote it.
    """
    path = folder / STUDY_FILE
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StudyError(
            f"{folder} is no study (it has no {STUDY_FILE}): make one with "
            "'napari-gemini study new'."
        ) from None
    except NotADirectoryError:
        raise StudyError(f"{folder} is a file: give the folder of a study.") from None
    except (OSError, ValueError) as error:
        raise StudyError(f"{path} cannot be read ({error}): restore it from a copy.") from error
    version = document.get("schema_version") if isinstance(document, dict) else None
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise StudyError(
            f"{path} was written by a newer napari-gemini (layout {version}, this one knows "
            f"{SCHEMA_VERSION}): update napari-gemini to open this study."
        )
    try:
        return StudyFile.model_validate(document)
    except ValidationError as error:
        where, what = first_problem(error)
        raise StudyError(
            f"{path} is damaged ({where or 'the file'}: {what}): restore it from a copy."
        ) from None


def write_study_file(folder: Path, content: StudyFile) -> None:
    """Write ``study.json``, atomically."""
    write_json_atomic(folder / STUDY_FILE, content.model_dump(mode="json"))
