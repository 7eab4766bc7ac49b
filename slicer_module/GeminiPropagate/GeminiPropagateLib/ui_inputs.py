"""Section Inputs: atlases and targets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ctk
import qt
from slicer.i18n import tr as _

from GeminiPropagateLib.errors import PropagateError
from GeminiPropagateLib.scene_nodes import AtlasNodes
from GeminiPropagateLib.scene_run import images_in_folder
from GeminiPropagateLib.ui_pairs import Pair, PairList
from GeminiPropagateLib.ui_tools import alive, alive_only, blocked, set_checked_nodes


class InputsSection:
    """Binds atlases and targets to the parameter node; the targets' list by hand.

    Parameters
    ----------
    panel
        :class:`GeminiPropagateLib.ui_panel.Panel`.
    """

    def __init__(self, panel: Any) -> None:
        self._panel = panel
        self._ui = ui = panel.ui
        ui.targetFolderEdit.filters = ctk.ctkPathLineEdit.Dirs
        self._further = PairList(
            ui.furtherTable,
            ui.furtherVolumeSelector,
            ui.furtherSegmentationSelector,
            ui.addFurtherButton,
            ui.removeFurtherButton,
            self._set_further,
        )
        ui.targetsFromSceneButton.toggled.connect(self._source_changed)
        ui.targetsSelector.checkedNodesChanged.connect(self._targets_changed)
        ui.targetFolderEdit.currentPathChanged.connect(self._folder_changed)

    def update(self) -> None:
        """Show what the parameter node holds."""
        ui, parameters = self._ui, self._panel.parameters
        if parameters is None:
            return
        self._further.show(
            list(zip(parameters.furtherVolumes, parameters.furtherSegmentations, strict=False))
        )
        count = len(self._further.pairs)
        title = _("Further atlases ({count})").format(count=count)
        ui.furtherAtlasesGroup.title = title if count else _("Further atlases")
        from_folder = bool(parameters.targetsFromFolder)
        with blocked(ui.targetsFromSceneButton, ui.targetsFromFolderButton, ui.targetFolderEdit):
            ui.targetsFromFolderButton.checked = from_folder
            ui.targetsFromSceneButton.checked = not from_folder
            if ui.targetFolderEdit.currentPath != parameters.targetFolder:
                ui.targetFolderEdit.currentPath = parameters.targetFolder
        ui.targetsSelector.visible = not from_folder
        ui.targetFolderEdit.visible = from_folder
        set_checked_nodes(
            ui.targetsSelector,
            alive_only(parameters.targets),
            qt.Qt.Checked,
            qt.Qt.Unchecked,
        )

    def what_is_missing(self) -> str:
        """Return what has to be chosen before Apply, empty if nothing."""
        parameters = self._panel.parameters
        if parameters is None:
            return _("There is no scene.")
        if not self._has_atlas():
            return _("Choose an atlas volume and its segmentation.")
        if parameters.targetsFromFolder:
            return "" if parameters.targetFolder else _("Choose the folder with the targets.")
        return "" if self._scene_targets() else _("Check at least one target besides the atlas.")

    def _has_atlas(self) -> bool:
        parameters = self._panel.parameters
        if parameters is None:
            return False
        return alive(parameters.atlasVolume) and alive(parameters.atlasSegmentation)

    def atlases(self) -> list[AtlasNodes]:
        """Return the atlases, the one of the two selectors first.

        Raises
        ------
        PropagateError
            If none is chosen.
        """
        if not self._has_atlas():
            raise PropagateError(_("Choose an atlas volume and its segmentation under Inputs."))
        parameters = self._panel.parameters
        first = (parameters.atlasVolume, parameters.atlasSegmentation)
        others = [pair for pair in self._further.pairs if pair != first]
        return [AtlasNodes(*pair) for pair in (first, *others)]

    def targets(self) -> list[Any]:
        """Return volume nodes, or paths of files.

        Raises
        ------
        PropagateError
            If there is none.
        """
        missing = self.what_is_missing()
        if missing:
            raise PropagateError(missing)
        parameters = self._panel.parameters
        if not parameters.targetsFromFolder:
            return self._scene_targets()
        return list(images_in_folder(Path(parameters.targetFolder).expanduser()))

    def vote_by(self) -> str:
        """Return how several atlases vote."""
        return str(self._panel.parameters.voteBy)

    def _scene_targets(self) -> list[Any]:
        parameters = self._panel.parameters
        atlas = parameters.atlasVolume
        return [node for node in alive_only(parameters.targets) if node is not atlas]

    def _set_further(self, pairs: list[Pair]) -> None:
        parameters = self._panel.parameters
        if parameters is not None:
            parameters.furtherVolumes = [pair[0] for pair in pairs]
            parameters.furtherSegmentations = [pair[1] for pair in pairs]
            self._panel.update()

    def _source_changed(self, *_args: object) -> None:
        if self._panel.parameters is not None:
            self._panel.parameters.targetsFromFolder = not self._ui.targetsFromSceneButton.checked

    def _targets_changed(self, *_args: object) -> None:
        if self._panel.parameters is not None and not self._panel.updating:
            self._panel.parameters.targets = list(self._ui.targetsSelector.checkedNodes())

    def _folder_changed(self, *_args: object) -> None:
        if self._panel.parameters is not None:
            self._panel.parameters.targetFolder = str(self._ui.targetFolderEdit.currentPath)
