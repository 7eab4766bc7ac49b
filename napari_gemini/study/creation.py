"""Make a study from images, labels and a split: everything is checked before the folder appears."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

import napari_gemini
from napari_gemini.errors import InputError
from napari_gemini.progress import Reporter, SilentReporter, stop_if_cancelled
from napari_gemini.study.files import (
    Align,
    Case,
    GridFile,
    Role,
    StudyFile,
    relative_path,
    write_study_file,
)
from napari_gemini.study.groups import check_groups
from napari_gemini.study.label_sources import LabelSource
from napari_gemini.study.labels import LabelStore
from napari_gemini.study.naming import absolute, by_case, find_images
from napari_gemini.study.scheme import LabelScheme, scheme_from_values, unique_values
from napari_gemini.study.split import Split, read_split
from napari_gemini.volumes.atomic import TEMPORARY_PREFIX, explain_write_error, flush_folder
from napari_gemini.volumes.checks import check_image
from napari_gemini.volumes.geometry import bounding_extent
from napari_gemini.volumes.grid import choose_grid
from napari_gemini.volumes.pictures import PIXEL_AFFINE
from napari_gemini.volumes.reading import read_volume
from napari_gemini.volumes.volume import Volume

LARGEST_RATIO = 3.0
"""A scan may be this many times longer than the middle one of the study, along any axis."""

CREATING = ("labels", "landmarks", "runs", "predictions")


@dataclass
class Plan:
    """What a study is going to be made of.

    Attributes
    ----------
    images
        Image of each case.
    roles
        Role of each case.
    persons
        Cases that belong to one person.
    labels
        Where labels come from, if there are any.
    scheme
        The labels, when known beforehand.
    volume_indices
        Which volume of its 4D file each case is; other cases are not in it.
    groups
        What scans that may be paired share; other cases are not in it.
    """

    images: dict[str, Path]
    roles: dict[str, Role]
    persons: dict[str, str] = field(default_factory=dict)
    labels: LabelSource | None = None
    scheme: LabelScheme | None = None
    volume_indices: Mapping[str, int] = field(default_factory=dict)
    groups: Mapping[str, str] = field(default_factory=dict)


def create_study(
    folder: Path,
    images: Sequence[str | Path],
    *,
    labels_dir: Path | None,
    split: Path | None,
    seed: str | None,
    scheme: LabelScheme | None,
    spacing: float | None,
    align: Align,
    all_labels: bool,
    volume_indices: Mapping[str, int] | None = None,
    groups: Mapping[str, str] | None = None,
    reporter: Reporter | None = None,
) -> Path:
    """Make a study folder; see :meth:`napari_gemini.study.study.Study.create`."""
    folder = absolute(folder)
    _check_target(folder)
    plan = plan_study(images, labels_dir, split, seed, scheme, all_labels)
    plan.volume_indices = _checked_indices(volume_indices or {}, plan.images)
    plan.groups = groups or {}
    check_groups(plan.groups, plan.images)
    made: list[Path] = []
    temporary = folder.with_name(f"{TEMPORARY_PREFIX}{secrets.token_hex(4)}-{folder.name}")
    try:
        made = _make_parents(folder.parent)
        for name in CREATING:
            (temporary / name).mkdir(parents=True)
        content = _fill(temporary, folder, plan, spacing, align, reporter or SilentReporter())
        write_study_file(temporary, content)
        flush_folder(temporary)
        if folder.is_dir():
            folder.rmdir()  # empty, as checked; Windows does not rename onto it
        temporary.rename(folder)
        flush_folder(folder.parent)
    except BaseException as error:
        # Also on Ctrl-C: nothing half-made stays.
        shutil.rmtree(temporary, ignore_errors=True)
        for parent in made:
            if not any(parent.iterdir()):
                parent.rmdir()
        if isinstance(error, OSError):
            raise explain_write_error(error, folder) from error
        raise
    return folder


def plan_study(
    images: Sequence[str | Path],
    labels_dir: Path | None,
    split: Path | None,
    seed: str | None,
    scheme: LabelScheme | None,
    all_labels: bool,
) -> Plan:
    """Decide cases, roles and label sources from names alone, nothing is read but the split."""
    found = by_case(find_images(images), "images")
    protocol = None if split is None else read_split(split)
    if seed is not None and protocol is None:
        raise InputError("A seed name chooses among the labelled cases of a split: give the split.")
    if scheme is None and protocol is not None:
        scheme = protocol.scheme()
    labels = None
    if labels_dir is not None:
        overlapping = scheme is not None and scheme.overlapping
        labels = LabelSource(absolute(labels_dir), scheme if overlapping else None)
    if protocol is None:
        plan = _plan_by_labels(found, labels)
    else:
        plan = _plan_by_split(found, labels, protocol, seed, all_labels)
    plan.scheme = scheme
    if len(plan.images) < 2:
        count = "no image" if not plan.images else "only one image"
        raise InputError(f"A study needs at least two scans and has {count}: add more.")
    return plan


def _plan_by_labels(found: dict[str, Path], labels: LabelSource | None) -> Plan:
    """Take every image; those with labels are labelled."""
    roles: dict[str, Role] = {
        case: "labelled" if labels is not None and case in labels else "unlabelled"
        for case in found
    }
    if labels is not None and "labelled" not in roles.values():
        raise InputError(
            f"No label map in {labels.folder} has the name of an image: name labels like images."
        )
    return Plan(found, roles, labels=labels)


def _plan_by_split(
    found: dict[str, Path],
    labels: LabelSource | None,
    split: Split,
    seed: str | None,
    all_labels: bool,
) -> Plan:
    """Take the images that the split names, each with its role there."""
    roles = split.roles(seed, all_labels=all_labels)
    missing = [case for case in roles if case not in found]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise InputError(
            f"The split names {missing[0]}{more}, and there is no such image: add the image or "
            "correct the split."
        )
    if labels is not None:
        must_have = set(split.labelled_ids(seed))
        for case, role in roles.items():
            if role == "labelled" and case not in labels:
                if case in must_have:
                    raise InputError(
                        f"The split counts {case} among the labelled, and {labels.folder} has no "
                        "labels for it: add them or correct the split."
                    )
                roles[case] = "unlabelled"
    persons = {case: person for case, person in split.persons().items() if case in roles}
    return Plan({case: found[case] for case in roles}, roles, persons, labels)


def _checked_indices(indices: Mapping[str, int], images: Mapping[str, Path]) -> Mapping[str, int]:
    for name in indices:
        if name not in images:
            raise InputError(
                f"A volume is chosen for the case {name}, and there is no such image: check the "
                "name."
            )
    return indices


def _fill(
    temporary: Path,
    folder: Path,
    plan: Plan,
    spacing: float | None,
    align: Align,
    reporter: Reporter,
) -> StudyFile:
    """Check every image, copy the labels and return the study's file."""
    store = LabelStore(temporary / "labels")
    shells: list[Volume] = []
    cases: list[Case] = []
    values: set[int] = set()
    for number, (name, path) in enumerate(plan.images.items()):
        stop_if_cancelled(reporter)
        reporter.progress(number, len(plan.images), f"Reading {path.name}")
        image = read_volume(path, volume_index=plan.volume_indices.get(name))
        check_image(image)
        _check_kin(image, shells)
        # Only where it lies is kept, not its voxels: a study may be larger than memory.
        shells.append(
            Volume(
                np.broadcast_to(np.uint8(0), image.shape), image.affine, image.spacing_known, path
            )
        )
        case = _case(name, path, image, folder, plan)
        if case.role == "labelled" and plan.labels is not None:
            values |= _copy_labels(store, case, image, plan.labels, plan.scheme)
            case.status = "done"
        cases.append(case)
    _check_sizes(shells)
    grid = choose_grid(shells, spacing)
    labelled = [case.id for case in cases if case.role == "labelled"]
    return StudyFile(
        dimension=3 if shells[0].ndim == 3 else 2,
        spacing_known=shells[0].spacing_known,
        scheme=plan.scheme or _found_scheme(values, plan.labels),
        grid=GridFile(shape=grid.shape, spacing=grid.spacing),
        align=align,
        reference=labelled[0] if labelled else cases[0].id,
        created=datetime.now(UTC).astimezone().isoformat(timespec="seconds"),
        software=f"napari-gemini {napari_gemini.__version__}",
        cases=cases,
    )


def _case(name: str, path: Path, image: Volume, folder: Path, plan: Plan) -> Case:
    picture = not image.spacing_known and np.array_equal(image.affine, PIXEL_AFFINE)
    return Case(
        id=name,
        image=str(path),
        relative=relative_path(path, folder),
        role=plan.roles[name],
        person=plan.persons.get(name),
        group=plan.groups.get(name),
        shape=image.shape,
        volume_index=plan.volume_indices.get(name),
        label_suffix=".png" if picture else ".nii.gz",
    )


def _copy_labels(
    store: LabelStore,
    case: Case,
    image: Volume,
    source: LabelSource,
    scheme: LabelScheme | None,
) -> set[int]:
    """Check the labels of one case, write them into the study and return their values."""
    if scheme is not None and scheme.overlapping:
        for mask, labels in source.read_masks(case.id, image).items():
            store.write(case, labels, image, mask)
        return set()
    volume = source.read(case.id, image)
    if scheme is not None:
        scheme.check(volume.data, volume.name)
    store.write(case, volume.data, image)
    return set(map(int, unique_values(volume.data)))


def _found_scheme(values: set[int], labels: LabelSource | None) -> LabelScheme:
    """Return a scheme for the values found, or a first one where nothing is labelled yet."""
    if labels is None:
        return LabelScheme(names={1: "label 1"})
    return scheme_from_values(values)


def _check_kin(image: Volume, others: list[Volume]) -> None:
    """Refuse a scan that cannot be in one study with the ones before it."""
    if not others:
        return
    first = others[0]
    if image.ndim != first.ndim:
        raise InputError(
            f"{image.name} is {image.ndim}D and {first.name} is {first.ndim}D: a study holds "
            "either images or volumes, not both."
        )
    if image.spacing_known != first.spacing_known:
        known, unknown = (image, first) if image.spacing_known else (first, image)
        raise InputError(
            f"{known.name} says how large its pixels are and {unknown.name} does not: convert them "
            "to one format."
        )


def _check_sizes(scans: list[Volume]) -> None:
    """Refuse a scan so large that the study grid would be mostly empty for all others.

    Raises
    ------
    InputError
        Naming the scan.
    """
    extents = np.array([bounding_extent(s.affine, s.shape) for s in scans])
    # The lower middle, so that of two scans the smaller one counts.
    middle = np.sort(extents, axis=0)[(len(scans) - 1) // 2]
    ratio = (extents / middle).max(axis=1)
    worst = int(np.argmax(ratio))
    if ratio[worst] > LARGEST_RATIO:
        raise InputError(
            f"{scans[worst].name} is {ratio[worst]:.1f} times as large as the other scans along an "
            "axis: crop it to the anatomy that the others show, or leave it out."
        )


def _check_target(folder: Path) -> None:
    try:
        occupied = folder.exists() and (not folder.is_dir() or any(folder.iterdir()))
    except OSError as error:
        raise explain_write_error(error, folder) from error
    if occupied:
        raise InputError(f"{folder} exists and is not an empty folder: choose another name.")


def _make_parents(parent: Path) -> list[Path]:
    """Make the folders above the study and return the new ones, innermost first."""
    made = []
    while not parent.exists():
        made.append(parent)
        parent = parent.parent
    if made:
        os.makedirs(made[0])
    elif not parent.is_dir():
        raise InputError(f"{parent} is a file: choose another place for the study.")
    return made
