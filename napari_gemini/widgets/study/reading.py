"""Reading a case without stopping the window: at once, in a thread, or in the engine's child."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_gemini.engine.jobs import LoadVolumeJob
from napari_gemini.errors import GeminiError
from napari_gemini.study.study import Study
from napari_gemini.volumes.reading import ITK_SUFFIXES, suffix_of
from napari_gemini.volumes.volume import Volume
from napari_gemini.widgets.common.threads import in_thread

if TYPE_CHECKING:
    from napari_gemini.widgets.common.session import Session

#: Scans of at most so many voxels are read at once: a few hundredths of a second.
SMALL = 2_000_000


@dataclass(frozen=True, eq=False)
class CaseData:
    """What was read of a case.

    Parameters
    ----------
    case
        Its id.
    image
        The scan.
    labels
        Its labels, None where there are none or they cannot be used.
    problem
        Why the labels on disk cannot be used, empty when they can.
    masks
        Of labels that may overlap: label value -> mask. `labels` is None then.
    """

    case: str
    image: Volume
    labels: Volume | None
    problem: str = ""
    masks: Mapping[int, NDArray[np.bool_]] | None = None


OnData = Callable[[CaseData], None]
OnError = Callable[[str], None]


def read_case(session: Session, study: Study, case_id: str, done: OnData, failed: OnError) -> None:
    """Read a case and hand it over, at once or later.

    Parameters
    ----------
    session
        Whose engine reads what ITK parses.
    study, case_id
        The case.
    done, failed
        One of them is called on the GUI thread, before this returns or later.

    Raises
    ------
    GeminiError
        If a small scan cannot be read.
    """
    path = study.image_path(case_id)
    if path.is_dir() or suffix_of(path) in ITK_SUFFIXES:
        _read_in_child(session, study, case_id, done, failed)
    elif np.prod(study.case(case_id).shape) <= SMALL:
        done(_read(study, case_id))
    else:
        in_thread(lambda: _read(study, case_id), f"Reading {case_id}", done, failed)


def _read(study: Study, case_id: str, image: Volume | None = None) -> CaseData:
    if image is None:
        image = study.load_image(case_id)
    study.remember_image(case_id, image)
    try:
        if study.scheme.overlapping:
            return CaseData(case_id, image, None, masks=study.load_each_mask(case_id))
        return CaseData(case_id, image, study.load_labels(case_id))
    except GeminiError as error:
        return CaseData(case_id, image, None, str(error))


def _read_in_child(
    session: Session, study: Study, case_id: str, done: OnData, failed: OnError
) -> None:
    path = study.image_path(case_id)

    def arrived(values: dict[str, Any]) -> None:
        arrays = session.engine.arrays
        # Mapped, not copied: the file's name can go, its pages stay while the layer lives.
        data = arrays.open(values["array"])
        arrays.discard(values["array"])
        image = Volume(data, values["affine"], values["spacing_known"], path)
        in_thread(lambda: _read(study, case_id, image), f"Reading {case_id}", done, failed)

    session.engine.run(
        LoadVolumeJob(path=path, volume_index=study.case(case_id).volume_index),
        description=f"Reading {path.name}",
        on_result=arrived,
        on_error=failed,
    )
