"""3D Slicer module GeminiPropagate: carry an atlas's labels to scans, and show whether to trust it.

Module, Widget, Logic and Test only; the work is done by GeminiPropagateLib, and the computing by a
child process with napari-gemini. Nothing is installed, downloaded or started when Slicer loads it.
"""

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import slicer
import vtk
from GeminiPropagateLib.errors import PropagateError
from GeminiPropagateLib.interpreters import Interpreter
from GeminiPropagateLib.jobs import PropagateOptions
from GeminiPropagateLib.scene_nodes import AtlasNodes
from GeminiPropagateLib.scene_run import ScenePropagation
from GeminiPropagateLib.session import DONE, FINAL_STATES
from GeminiPropagateLib.training import FewShotTraining
from GeminiPropagateLib.ui_panel import Panel
from slicer import vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.parameterNodeWrapper import Choice, WithinRange, parameterNodeWrapper
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin


class GeminiPropagate(ScriptedLoadableModule):
    """What Slicer shows about the module."""

    def __init__(self, parent: Any) -> None:
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("GEMINI Atlas Propagation")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Registration")]
        # Its widgets and its logics of these are used.
        self.parent.dependencies = ["Segmentations", "Transforms"]
        self.parent.contributors = ["napari-gemini contributors"]
        self.parent.helpText = _(
            "Carries the segmentation of one or several atlases to any number of scans and shows "
            "whether the result can be trusted: the deformation, its folds, the change of volume "
            "and the similarity. The computing is done by napari-gemini in a process of its own; "
            "see Compute. Computed labels are a draft for an expert's eyes, not a diagnosis."
        )
        self.parent.acknowledgementText = _(
            "The method is GEMINI (He et al., arXiv 2502.05282). The deformation is drawn by the "
            "Transforms module of 3D Slicer."
        )


@parameterNodeWrapper
class GeminiPropagateParameterNode:
    """What is chosen in the panel; saved with the scene.

    Lists of nodes are kept in step with their widgets by the sections of the panel, since no
    connector of Slicer binds a list.
    """

    atlasVolume: vtkMRMLScalarVolumeNode
    atlasSegmentation: vtkMRMLSegmentationNode
    furtherVolumes: list[vtkMRMLScalarVolumeNode]
    furtherSegmentations: list[vtkMRMLSegmentationNode]
    voteBy: Annotated[str, Choice(["majority", "similarity"])] = "majority"
    targets: list[vtkMRMLScalarVolumeNode]
    targetsFromFolder: bool = False
    targetFolder: str = ""
    model: str = ""
    refine: Annotated[int, WithinRange(-1, 10000)] = -1
    gridSpacing: Annotated[float, WithinRange(0, 100)] = 0.0
    outputFolder: str = ""
    exampleVolumes: list[vtkMRMLScalarVolumeNode]
    exampleSegmentations: list[vtkMRMLSegmentationNode]
    others: list[vtkMRMLScalarVolumeNode]
    trainingFolder: str = ""
    trainingPreset: Annotated[str, Choice(["quick", "standard", "paper"])] = "quick"
    trainingSteps: Annotated[int, WithinRange(0, 1000000)] = 0
    trainingSettings: str = ""


class GeminiPropagateWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel in Slicer; what it does is in GeminiPropagateLib.ui_panel."""

    def __init__(self, parent: Any = None) -> None:
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic: GeminiPropagateLogic | None = None
        self.panel: Panel | None = None
        self._parameterNode: Any = None
        self._parameterNodeGuiTag: Any = None

    def setup(self) -> None:
        """Build the panel; needs no engine, no network and no nodes."""
        ScriptedLoadableModuleWidget.setup(self)
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/GeminiPropagate.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = GeminiPropagateLogic()
        self.panel = Panel(self.ui, self.logic)
        scene = slicer.mrmlScene
        self.addObserver(scene, slicer.vtkMRMLScene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(scene, slicer.vtkMRMLScene.EndCloseEvent, self.onSceneEndClose)
        self.addObserver(scene, slicer.vtkMRMLScene.EndImportEvent, self.onSceneEndImport)
        self.addObserver(scene, slicer.vtkMRMLScene.NodeRemovedEvent, self.onNodeRemoved)
        self.initializeParameterNode()

    def cleanup(self) -> None:
        """End what runs and let go of the scene."""
        self.setParameterNode(None)
        self.removeObservers()
        if self.panel is not None:
            self.panel.close()

    def enter(self) -> None:
        """Look at the interpreter when the user opens the module."""
        self.initializeParameterNode()
        if self.panel is not None:
            self.panel.enter()

    def exit(self) -> None:
        """Leave the parameter node alone while another module is shown; runs go on."""
        self.setParameterNode(None)

    def onSceneStartClose(self, caller: Any, event: Any) -> None:
        """Let go of the nodes before they go."""
        self.setParameterNode(None)
        if self.panel is not None:
            self.panel.scene_closing()

    def onSceneEndClose(self, caller: Any, event: Any) -> None:
        """Start again with an empty scene, if the user is looking."""
        if self.parent.isEntered:
            self.initializeParameterNode()

    def onSceneEndImport(self, caller: Any, event: Any) -> None:
        """Show what a loaded scene brought."""
        if self.parent.isEntered:
            self.initializeParameterNode()
        if self.panel is not None:
            self.panel.scene_opened()

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def onNodeRemoved(self, caller: Any, event: Any, node: Any) -> None:
        """Show the lists without a node that was deleted."""
        shown = isinstance(node, (vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode))
        if shown and self.panel is not None and not slicer.mrmlScene.IsClosing():
            self.panel.update()
            self.panel.quality.update()

    def initializeParameterNode(self) -> None:
        """Show the scene's parameter node, made on first use."""
        if self.logic is not None:
            self.setParameterNode(self.logic.getParameterNode())

    def setParameterNode(self, parameterNode: Any) -> None:
        """Connect another parameter node with the panel, or none."""
        if self._parameterNode is not None:
            self._parameterNode.disconnectGui(self._parameterNodeGuiTag)
            self.removeObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self.onChanged)
        self._parameterNode = parameterNode
        if parameterNode is not None:
            self._parameterNodeGuiTag = parameterNode.connectGui(self.ui)
            self.addObserver(parameterNode, vtk.vtkCommand.ModifiedEvent, self.onChanged)
        if self.panel is not None:
            self.panel.set_parameters(parameterNode)

    def onChanged(self, caller: Any = None, event: Any = None) -> None:
        """Show a change of the parameter node."""
        if self.panel is not None:
            self.panel.update()


class GeminiPropagateLogic(ScriptedLoadableModuleLogic):
    """Runs propagations and trainings; usable from scripts without the widget."""

    def __init__(self) -> None:
        ScriptedLoadableModuleLogic.__init__(self)
        self.propagation: ScenePropagation | None = None
        self.training: FewShotTraining | None = None
        self.trainingFolder: Path | None = None

    def getParameterNode(self) -> GeminiPropagateParameterNode:
        """Return the scene's parameter node."""
        return GeminiPropagateParameterNode(super().getParameterNode())

    def startPropagation(
        self,
        interpreter: Interpreter,
        atlases: Sequence[AtlasNodes],
        targets: Sequence[Any],
        options: PropagateOptions | None = None,
        voteBy: str = "majority",
        out: Path | None = None,
    ) -> None:
        """Start a propagation; :attr:`propagation` wants polling until its state is final.

        Raises
        ------
        PropagateError
            If one is running, an input cannot be used, or the interpreter cannot be started.
        """
        if self.propagation is not None:
            raise PropagateError(_("A propagation is running; wait for it or cancel it."))
        propagation = ScenePropagation(slicer.mrmlScene, interpreter.path, interpreter.environment)
        try:
            propagation.start(atlases, targets, options, voteBy, out)
        except BaseException:
            propagation.close()
            raise
        self.propagation = propagation

    def endPropagation(self) -> None:
        """End a propagation with everything it started; harmless when there is none."""
        propagation, self.propagation = self.propagation, None
        if propagation is not None:
            propagation.close()

    def propagate(
        self,
        interpreter: Interpreter,
        atlases: Sequence[AtlasNodes],
        targets: Sequence[Any],
        options: PropagateOptions | None = None,
        voteBy: str = "majority",
    ) -> list[Any]:
        """Propagate and wait, for scripts; the window does not answer meanwhile.

        Returns
        -------
        list of GeminiPropagateLib.results.ImportedTarget
            The targets that are finished.

        Raises
        ------
        PropagateError
            If no target could be finished.
        """
        self.startPropagation(interpreter, atlases, targets, options, voteBy)
        imported = []
        try:
            while True:
                update = self.propagation.poll()
                imported += update.imported
                for level, text in update.run.log:
                    logging.log(logging.DEBUG if level == "debug" else logging.INFO, text)
                if update.run.state in FINAL_STATES:
                    break
                time.sleep(0.1)
        finally:
            self.endPropagation()
        if update.run.state != DONE:
            raise PropagateError(update.run.error or update.run.message)
        return imported

    def makeTraining(self, interpreter: Interpreter, folder: Path) -> FewShotTraining:
        """Make the training of a folder; the one before is let go, and goes on if it runs."""
        self.closeTraining()
        self.training = FewShotTraining(
            slicer.mrmlScene, interpreter.path, folder, interpreter.environment
        )
        self.trainingFolder = folder
        return self.training

    def closeTraining(self) -> None:
        """Stop listening to a training, which goes on; a prediction ends."""
        training, self.training, self.trainingFolder = self.training, None, None
        if training is not None:
            training.close()


class GeminiPropagateTest(ScriptedLoadableModuleTest):
    """Self-test for real Slicer; the engine's part needs an interpreter (see the README).

    The same steps run in the project's own tests on stand-ins of Slicer's window.
    """

    def setUp(self) -> None:
        """Start with an empty scene."""
        slicer.mrmlScene.Clear()

    def runTest(self) -> None:
        """Run every test."""
        from GeminiPropagateLib import self_test

        for test in self_test.TESTS:
            self.setUp()
            self.delayDisplay(test.__doc__.splitlines()[0])
            test(self)
        self.delayDisplay("Passed")
