"""The widgets of Slicer that show nodes of a scene, as far as the panel uses them."""

from __future__ import annotations

from typing import Any

import slicer
from PySide6.QtCore import Property, QMargins, QObject, Qt, Signal
from PySide6.QtWidgets import QComboBox, QHBoxLayout, QLabel, QVBoxLayout, QWidget

from tests.slicer_module.standin.properties import use_properties

use_properties(__name__)


class qMRMLWidget(QWidget):
    """Hands the scene to the widgets inside, as the .ui file's connections do in Slicer."""

    mrmlSceneChanged = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._scene: Any = None

    def setMRMLScene(self, scene: Any) -> None:
        self._scene = scene
        for child in self.findChildren(qMRMLNodeComboBox):
            child.setMRMLScene(scene)
        self.mrmlSceneChanged.emit(scene)

    def mrmlScene(self) -> Any:
        return self._scene


class qMRMLSortFilterProxyModel(QObject):
    """Which nodes a selector leaves out."""

    def __init__(self, selector: qMRMLNodeComboBox) -> None:
        super().__init__(selector)
        self._selector = selector
        self._hidden: list[str] = []

    def _hidden_ids(self) -> list[str]:
        return self._hidden

    def _hide(self, identifiers: list[str]) -> None:
        self._hidden = list(identifiers)
        self._selector._refill()

    hiddenNodeIDs = Property("QStringList", _hidden_ids, _hide)


class qMRMLNodeComboBox(QWidget):
    """Choose a node of a class; follows nodes that come and go."""

    currentNodeChanged = Signal(object)
    currentNodeIDChanged = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._scene: Any = None
        self._tags: list[int] = []
        self._types: list[str] = []
        self._options: dict[str, bool] = {"noneEnabled": False}
        self._nodes: list[Any] = []
        self._model = qMRMLSortFilterProxyModel(self)
        self._combo = QComboBox(self)
        self._combo.currentIndexChanged.connect(self._chosen)
        layout = QHBoxLayout(self)
        layout.contentsMargins = QMargins(0, 0, 0, 0)
        layout.addWidget(self._combo)

    # -- properties of the .ui file ------------------------------------------------------------

    def _node_types(self) -> list[str]:
        return self._types

    def _set_node_types(self, types: list[str]) -> None:
        self._types = list(types)
        self._refill()

    nodeTypes = Property("QStringList", _node_types, _set_node_types)

    def _none_enabled(self) -> bool:
        return self._options["noneEnabled"]

    def _set_none_enabled(self, enabled: bool) -> None:
        self._options["noneEnabled"] = enabled
        self._refill()

    noneEnabled = Property(bool, _none_enabled, _set_none_enabled)

    def _ignored(self) -> bool:
        return False

    def _ignore(self, value: bool) -> None:
        pass

    addEnabled = Property(bool, _ignored, _ignore)
    removeEnabled = Property(bool, _ignored, _ignore)
    showChildNodeTypes = Property(bool, _ignored, _ignore)

    # -- the scene -----------------------------------------------------------------------------

    def setMRMLScene(self, scene: Any) -> None:
        for tag in self._tags:
            self._scene.RemoveObserver(tag)
        self._tags, self._scene = [], scene
        if scene is not None:
            events = (scene.NodeAddedEvent, scene.NodeRemovedEvent, scene.EndCloseEvent)
            self._tags = [scene.AddObserver(event, self._refill) for event in events]
        self._refill()

    def _refill(self, *_: object) -> None:
        current = self.currentNode()
        self._nodes = [] if self._scene is None else self._matching()
        self._combo.blockSignals(True)
        self._combo.clear()
        if self._options["noneEnabled"]:
            self._combo.addItem("None")
        for node in self._nodes:
            self._combo.addItem(node.GetName())
        self._combo.blockSignals(False)
        if current is not None and current not in self._nodes:
            self.setCurrentNode(None)
            self._chosen()
        else:
            self.setCurrentNode(current)

    def _matching(self) -> list[Any]:
        found = []
        for index in range(self._scene.GetNumberOfNodes()):
            node = self._scene.GetNthNode(index)
            hidden = node.GetHideFromEditors() or node.GetID() in self._model.hiddenNodeIDs
            if node.GetClassName() in self._types and not hidden:
                found.append(node)
        return found

    def sortFilterProxyModel(self) -> qMRMLSortFilterProxyModel:
        return self._model

    # -- what the panel calls ------------------------------------------------------------------

    def currentNode(self) -> Any:
        index = self._combo.currentIndex - int(self._options["noneEnabled"])
        return self._nodes[index] if 0 <= index < len(self._nodes) else None

    def setCurrentNode(self, node: Any) -> None:
        offset = int(self._options["noneEnabled"])
        index = self._nodes.index(node) + offset if node in self._nodes else offset - 1
        if index != self._combo.currentIndex:
            self._combo.currentIndex = index

    def _chosen(self, *_: object) -> None:
        node = self.currentNode()
        self.currentNodeChanged.emit(node)
        self.currentNodeIDChanged.emit("" if node is None else node.GetID())


class qMRMLCheckableNodeComboBox(qMRMLNodeComboBox):
    """Check any number of nodes."""

    checkedNodesChanged = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        self._checked: list[Any] = []
        super().__init__(parent)

    def _refill(self, *_: object) -> None:
        super()._refill()
        left = [node for node in self._checked if node in self._nodes]
        if left != self._checked:
            self._checked = left
            self.checkedNodesChanged.emit()
        self._show_names()

    def _show_names(self) -> None:
        names = ", ".join(node.GetName() for node in self._checked)
        self._combo.placeholderText = names or "none checked"
        self._combo.currentIndex = -1

    def checkedNodes(self) -> list[Any]:
        return list(self._checked)

    def checkState(self, node: Any) -> Qt.CheckState:
        return Qt.CheckState.Checked if node in self._checked else Qt.CheckState.Unchecked

    def setCheckState(self, node: Any, state: Qt.CheckState) -> None:
        if node not in self._nodes:
            raise AssertionError(f"{node} is no node of this list")
        if self.checkState(node) == state:
            return
        if state == Qt.CheckState.Checked:
            self._checked.append(node)
        else:
            self._checked.remove(node)
        self._show_names()
        self.checkedNodesChanged.emit()


class qMRMLTransformDisplayNodeWidget(QWidget):
    """Slicer's own panel of a transform's display; here a line that names the transform."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.transform: Any = None
        self._label = QLabel("(Slicer's own widget)", self)
        QVBoxLayout(self).addWidget(self._label)

    def setMRMLTransformNode(self, node: Any) -> None:
        if node is not None and not isinstance(node, slicer.vtkMRMLTransformNode):
            raise AssertionError(f"{node} is no transform")
        self.transform = node


WIDGETS = [
    qMRMLWidget,
    qMRMLNodeComboBox,
    qMRMLCheckableNodeComboBox,
    qMRMLTransformDisplayNodeWidget,
]
