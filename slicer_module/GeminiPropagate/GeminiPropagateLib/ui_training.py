"""Section Few-shot training: examples, start, stop, resume, labels for the others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ctk
import qt
import slicer
from slicer.i18n import tr as _
from slicer.util import WaitCursor

from GeminiPropagateLib.banner import banner_for_error
from GeminiPropagateLib.errors import PropagateError
from GeminiPropagateLib.scene_nodes import AtlasNodes, nodes_of_class, target_of_node
from GeminiPropagateLib.sentences import duration
from GeminiPropagateLib.training_run import TrainOptions
from GeminiPropagateLib.ui_curve import Curve
from GeminiPropagateLib.ui_pairs import Pair, PairList
from GeminiPropagateLib.ui_tools import alive_only, blocked, set_checked_nodes

#: Phases in which something is going on.
_BUSY = ("preparing", "training", "predicting")


class TrainingSection:
    """Drives the logic's training; a training itself lives in its folder and outlives Slicer."""

    def __init__(self, panel: Any) -> None:
        self._panel = panel
        self._ui = ui = panel.ui
        self._phase = "idle"
        ui.trainingFolderEdit.filters = ctk.ctkPathLineEdit.Dirs
        self._curve = Curve(ui.trainingCurveLabel)
        self._examples = PairList(
            ui.examplesTable,
            ui.exampleVolumeSelector,
            ui.exampleSegmentationSelector,
            ui.addExampleButton,
            ui.removeExampleButton,
            self._set_examples,
        )
        ui.addAllExamplesButton.clicked.connect(self._add_all)
        ui.trainingFolderEdit.currentPathChanged.connect(self._folder_changed)
        ui.othersSelector.checkedNodesChanged.connect(self._others_changed)
        ui.startTrainingButton.clicked.connect(self.start)
        ui.stopTrainingButton.clicked.connect(self.stop)
        ui.resumeTrainingButton.clicked.connect(self.resume)
        ui.predictButton.clicked.connect(self.predict)

    @property
    def busy(self) -> bool:
        """Whether something is going on that this panel follows."""
        return self._phase in _BUSY

    def update(self) -> None:
        """Show what the parameter node holds and enable what can be pressed."""
        ui, parameters = self._ui, self._panel.parameters
        ui.startTrainingButton.enabled = not self.busy and parameters is not None
        ui.resumeTrainingButton.enabled = not self.busy and parameters is not None
        ui.predictButton.enabled = not self.busy and parameters is not None
        ui.stopTrainingButton.enabled = self.busy
        if parameters is None:
            return
        self._examples.show(
            list(zip(parameters.exampleVolumes, parameters.exampleSegmentations, strict=False))
        )
        with blocked(ui.trainingFolderEdit):
            if ui.trainingFolderEdit.currentPath != parameters.trainingFolder:
                ui.trainingFolderEdit.currentPath = parameters.trainingFolder
        set_checked_nodes(
            ui.othersSelector, alive_only(parameters.others), qt.Qt.Checked, qt.Qt.Unchecked
        )

    # -- buttons -------------------------------------------------------------------------------

    def start(self, *_args: object) -> None:
        """Write the scans, make the study and start the training."""
        self._curve.clear()
        self._try(self._start)

    def resume(self, *_args: object) -> None:
        """Go on with the folder's latest training."""
        self._try(lambda: self._attached().resume(self._panel.compute.device))

    def predict(self, *_args: object) -> None:
        """Label the others with what was learned."""
        self._try(lambda: self._attached().predict(None, self._panel.compute.device))

    def stop(self, *_args: object) -> None:
        """Ask the training to write a checkpoint and end; a prediction ends at once."""
        training = self._panel.logic.training
        if training is None:
            return
        if self._phase == "training":
            self._try(training.stop)
        else:
            self._panel.logic.closeTraining()
            self._set_phase("idle")
            self._ui.trainingLabel.text = _("Stopped")

    def poll(self) -> bool:
        """Take in what happened; True while something is going on."""
        training = self._panel.logic.training
        if training is None or not self.busy:
            return False
        update = training.poll()
        for level, text in update.log:
            self._panel.log(level, text)
        self._ui.trainingProgressBar.value = round(1000 * update.fraction)
        self._ui.trainingLabel.text = self._status(update)
        if update.training is not None:
            self._draw(update.training.history)
        if update.imported:
            self._panel.results.refresh()
            self._panel.update()
            self._panel.quality.offer([target for target, _segmentation in update.imported])
        if update.error:
            error = PropagateError(update.error, update.step)
            self._panel.show_banner(banner_for_error(error))
        self._set_phase(update.phase)
        return self.busy

    def close(self) -> None:
        """Stop listening; a training goes on."""
        self._panel.logic.closeTraining()
        self._set_phase("idle")

    # -- the work ------------------------------------------------------------------------------

    def _start(self) -> None:
        parameters = self._panel.parameters
        pairs = self._examples.pairs
        if len(pairs) < 1:
            raise PropagateError(_("Add the segmented volumes to learn from first."))
        volumes = [pair[0] for pair in pairs]
        others = [node for node in alive_only(parameters.others) if node not in volumes]
        training = self._panel.logic.makeTraining(self._panel.compute.interpreter(), self._folder())
        options = TrainOptions(
            preset=str(parameters.trainingPreset),
            steps=int(parameters.trainingSteps) or None,
            device=self._panel.compute.device,
            assignments=tuple(str(parameters.trainingSettings).split()),
        )
        training.start([AtlasNodes(*pair) for pair in pairs], others, options)

    def _attached(self) -> Any:
        """Return the training of the folder, which may have been started in another session."""
        logic, folder = self._panel.logic, self._folder()
        if logic.training is None or logic.trainingFolder != folder:
            logic.makeTraining(self._panel.compute.interpreter(), folder).attach()
        return logic.training

    def _folder(self) -> Path:
        folder = str(self._panel.parameters.trainingFolder).strip()
        if not folder:
            raise PropagateError(_("Choose a folder for the training."))
        return Path(folder).expanduser()

    def _try(self, action: Any) -> None:
        self._panel.show_banner(None)
        try:
            with WaitCursor():
                action()
        except PropagateError as error:
            self._panel.show_banner(banner_for_error(error))
            return
        # The first poll says which phase it is.
        self._set_phase(_BUSY[0])
        self._panel.watch()

    def _set_phase(self, phase: str) -> None:
        if phase != self._phase:
            self._phase = phase
            self.update()

    @staticmethod
    def _status(update: Any) -> str:
        text = update.message or update.phase
        if update.remaining is not None:
            text += _(", about {duration} left").format(duration=duration(update.remaining))
        return text

    def _draw(self, history: list[tuple[int, dict[str, float]]]) -> None:
        self._curve.add([(step, _loss(values)) for step, values in history])

    # -- widgets -------------------------------------------------------------------------------

    def _set_examples(self, pairs: list[Pair]) -> None:
        parameters = self._panel.parameters
        if parameters is not None:
            parameters.exampleVolumes = [pair[0] for pair in pairs]
            parameters.exampleSegmentations = [pair[1] for pair in pairs]
            self._panel.update()

    def _add_all(self, *_args: object) -> None:
        """Add every segmentation that knows its volume and is no result of ours."""
        scene = slicer.mrmlScene
        role = slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()
        pairs = []
        for segmentation in nodes_of_class(scene, "vtkMRMLSegmentationNode"):
            volume = segmentation.GetNodeReference(role)
            if volume is not None and target_of_node(segmentation) is None:
                pairs.append((volume, segmentation))
        self._examples.add(pairs)

    def _folder_changed(self, *_args: object) -> None:
        if self._panel.parameters is not None:
            self._panel.parameters.trainingFolder = str(self._ui.trainingFolderEdit.currentPath)

    def _others_changed(self, *_args: object) -> None:
        if self._panel.parameters is not None and not self._panel.updating:
            self._panel.parameters.others = list(self._ui.othersSelector.checkedNodes())


def _loss(values: dict[str, float]) -> float:
    """Add up the terms that are minimised; not a number where none was told."""
    losses = [value for name, value in values.items() if name.startswith("loss")]
    return sum(losses) if losses else float("nan")
