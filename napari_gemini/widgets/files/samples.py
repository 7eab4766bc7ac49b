"""Sample data: phantom cohorts made on the spot, and a public pair of scans."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any, Literal

from napari_gemini.errors import GeminiError
from napari_gemini.study.study import Study
from napari_gemini.widgets.files.readers import LayerData, _show_dock, _tell, _viewer

#: Cases of a phantom study, and how many of them are labelled.
CASES, LABELLED = 12, 5
SEED = 7
_SHAPES: dict[int, tuple[int, ...]] = {2: (96, 96), 3: (48, 56, 40)}


def sample_folder() -> Path:
    """Return where sample studies are kept; ``NAPARI_GEMINI_SAMPLES`` names another place."""
    named = os.environ.get("NAPARI_GEMINI_SAMPLES")
    if named:
        return Path(named)
    import pooch

    return Path(pooch.os_cache("napari-gemini")) / "samples"


def phantom_study(dimension: Literal[2, 3], parent: Path | None = None) -> Study:
    """Return the phantom study of a dimension, making it when it is not there yet.

    Parameters
    ----------
    dimension
        2 or 3.
    parent
        Folder to keep it in; :func:`sample_folder` unless given.

    Raises
    ------
    GeminiError
        If it cannot be written.
    """
    from napari_gemini.phantom.cohort import make_cohort
    from napari_gemini.phantom.files import write_cohort

    parent = sample_folder() if parent is None else parent
    folder = parent / f"phantom-{dimension}d"
    if (folder / "study" / "study.json").is_file():
        return Study.open(folder / "study")
    parent.mkdir(parents=True, exist_ok=True)
    # Made beside its place and moved when whole: an interrupted start leaves no half study.
    with tempfile.TemporaryDirectory(dir=parent, prefix=".making-") as making:
        cohort = make_cohort(CASES, dimension=dimension, shape=_SHAPES[dimension], seed=SEED)
        whole = write_cohort(Path(making) / folder.name, cohort, labelled=LABELLED, test=3)
        shutil.rmtree(folder, ignore_errors=True)
        whole.rename(folder)
    return Study.create(
        folder / "study",
        [folder / "images"],
        labels_dir=folder / "labels",
        split=folder / "split.json",
        seed="seed0",
    )


def open_phantom_3d(**_: Any) -> list[LayerData]:
    """Open the 3D phantom study in the Study dock."""
    return _open_phantom(3)


def open_phantom_2d(**_: Any) -> list[LayerData]:
    """Open the 2D phantom study in the Study dock."""
    return _open_phantom(2)


def _open_phantom(dimension: Literal[2, 3]) -> list[LayerData]:
    return _open(lambda: phantom_study(dimension))


def _open(make: Any) -> list[LayerData]:
    """Make a study in the background, so that the window stays alive, and open it."""
    viewer = _viewer()
    if viewer is None:
        make()
        return []
    from napari_gemini.widgets.common.session import get_session
    from napari_gemini.widgets.common.threads import in_thread

    session = get_session(viewer)

    def made(study: Study) -> None:
        try:
            session.open_study(study.folder)
            _show_dock(session.viewer, "Study")
            session.show_case(study.cases[0].id)
        except GeminiError as error:
            _tell(str(error))

    in_thread(make, "Making the sample study", made, _tell)
    return []
