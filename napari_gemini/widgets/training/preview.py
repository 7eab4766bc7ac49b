"""The present prediction of a running training, as a layer over the case that is shown."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from psygnal import Signal
from qtpy.QtCore import QObject

from napari_gemini.engine.jobs import PreviewJob
from napari_gemini.errors import GeminiError
from napari_gemini.widgets.canvas.layers import find_layers, layer_info
from napari_gemini.widgets.review.showing import put_labels

if TYPE_CHECKING:
    from napari_gemini.widgets.common.engine import JobHandle
    from napari_gemini.widgets.common.session import Session

#: Role of the layer.
ROLE = "preview"


class LivePreview(QObject):
    """Predicts one case with each new checkpoint, in the engine's child, and updates one layer.

    Parameters
    ----------
    session
        Of the viewer.
    """

    #: What is shown, in words; empty when nothing is.
    told = Signal(str)

    def __init__(self, session: Session, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self.case: str | None = None
        self.step: int | None = None
        self._checkpoint: Path | None = None
        self._shown: tuple[str, Path] | None = None
        self._handle: JobHandle | None = None
        self._closed = False

    def set_case(self, case: str | None) -> None:
        """Predict another case from now on; None predicts none."""
        if case == self.case:
            return
        self.remove_layer()
        self.case, self._shown, self.step = case, None, None
        self.told.emit("")
        self._begin()

    def set_checkpoint(self, checkpoint: Path | None) -> None:
        """Predict with a newer checkpoint."""
        self._checkpoint = checkpoint
        self._begin()

    def _begin(self) -> None:
        study, case, checkpoint = self._session.study, self.case, self._checkpoint
        if study is None or case is None or checkpoint is None or self._handle is not None:
            return
        if self._shown == (case, checkpoint):
            return
        self._shown = (case, checkpoint)
        job = PreviewJob(
            study=study.folder,
            case=case,
            model=str(checkpoint),
            device=self._session.preferences.device,
        )
        try:
            self._handle = self._session.engine.run(
                job,
                description=f"Predicting {case} with {checkpoint.name}",
                on_result=lambda values: self._arrived(case, values),
                on_error=lambda sentence: self._failed(checkpoint, sentence),
                on_cancelled=self._ended,
            )
        except GeminiError as error:
            self.told.emit(str(error))

    def _ended(self) -> None:
        self._handle = None
        if not self._closed:
            self._begin()

    def _failed(self, checkpoint: Path, sentence: str) -> None:
        # A training removes its older checkpoints; the next one will do.
        if not self._closed and checkpoint.exists():
            self.told.emit(sentence)
        self._ended()

    def _arrived(self, case: str, values: dict[str, Any]) -> None:
        if self._closed:
            return
        arrays = self._session.engine.arrays
        try:
            labels = arrays.open(values["array"])
            arrays.discard(values["array"])
        except GeminiError as error:
            self.told.emit(str(error))
        else:
            if case == self.case:
                self._put(case, np.array(labels), values)
        self._ended()

    def _put(self, case: str, labels: np.ndarray, values: dict[str, Any]) -> None:
        step = int(values["step"])
        layer = put_labels(self._session, case, labels, f"{case} at present", ROLE)
        if layer is None:
            # The case is not on the canvas (yet): try again when it is.
            self._shown = None
            return
        info = layer_info(layer)
        assert info is not None
        info.provenance = {"model": str(self._checkpoint), "step": step}
        self.step = step
        self.told.emit(f"{case} as predicted at step {step}{_dice_in_words(values['dice'])}")

    def place(self) -> None:
        """Try again, since another case is shown now, or the same one anew."""
        if not find_layers(self._session.viewer, ROLE, self.case):
            self._shown = None
        self._begin()

    def remove_layer(self) -> None:
        """Take the layer away."""
        viewer = self._session.viewer
        for layer in find_layers(viewer, ROLE):
            viewer.layers.remove(layer)

    def close(self) -> None:
        """Predict no more."""
        self._closed = True
        if self._handle is not None:
            self._handle.cancel()
        if not self._session.closed:
            self.remove_layer()


def _dice_in_words(dice: dict[str, float | None]) -> str:
    found = [value or 0.0 for value in dice.values()]
    return f", Dice {sum(found) / len(found):.3f} with its labels" if found else ""
