"""Show a demo's results in napari: ``python -m napari_gemini.widgets.files.demo_window FOLDER``.

A process of its own, so that Qt and torch never meet in one.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from napari_gemini.errors import GeminiError
from napari_gemini.evaluation.pair_files import read_json
from napari_gemini.volumes.reading import read_labels
from napari_gemini.widgets.canvas.layers import labels_layer
from napari_gemini.widgets.common.session import get_session

if TYPE_CHECKING:
    import napari

#: The run whose predictions are shown.
RUN = "gemini-semi"


def open_demo(viewer: napari.Viewer, folder: Path) -> None:
    """Open a demo's study and pair in their docks, with the predicted labels on the fixed scan.

    Parameters
    ----------
    viewer
        Where to show them.
    folder
        What ``napari-gemini demo`` wrote.

    Raises
    ------
    GeminiError
        If the folder's files cannot be read.
    """
    from napari_gemini.widgets.pair.dock import CorrespondenceDock
    from napari_gemini.widgets.study.dock import StudyDock

    pair = read_json(folder / "demo.json")["pair"]
    session = get_session(viewer)
    study_dock = StudyDock(viewer)
    pair_dock = CorrespondenceDock(viewer)
    viewer.window.add_dock_widget(study_dock, name="Study", area="right")
    viewer.window.add_dock_widget(pair_dock, name="Correspondence", area="right", tabify=True)
    study = session.open_study(folder / "study")
    session.show_case(pair["fixed"])
    predicted = study.prediction_path(RUN, pair["fixed"])
    if predicted.is_file():
        viewer.add_layer(
            labels_layer(
                read_labels(predicted),
                f"{pair['fixed']} predicted",
                role="prediction",
                case=pair["fixed"],
                provenance={"run": RUN},
                opacity=session.preferences.label_opacity,
                visible=False,
            )
        )
    pair_dock.open_result(folder / "pair")


def main(arguments: Sequence[str] | None = None) -> int:
    """Open the demo in the folder that the only argument names; ends with the window."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if len(words) != 1:
        print("Give the folder of a demo.", file=sys.stderr)
        return 2
    import napari

    viewer = napari.Viewer(title="napari-gemini demo")
    try:
        open_demo(viewer, Path(words[0]))
    except GeminiError as error:
        print(error, file=sys.stderr)
        viewer.close()
        return error.exit_code
    napari.run()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
