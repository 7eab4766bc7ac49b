"""The nodes that belong to a target: found again, made once, in one folder.

A target's volume refers to each of its result nodes and each of them refers back, so they are
found after saving, loading and renaming, and a copy of the volume does not claim them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import slicer

PREFIX = "GeminiPropagate."
#: Attribute of folders and of nodes that are shared by all targets of a scene.
_ROLE = PREFIX + "role"
_TARGET = PREFIX + "target"

#: Role, class and name of the result nodes.
KINDS = {
    "segmentation": ("vtkMRMLSegmentationNode", "labels"),
    "transform": ("vtkMRMLTransformNode", "field"),
    "warped": ("vtkMRMLScalarVolumeNode", "warped atlas"),
    "log_jacobian": ("vtkMRMLScalarVolumeNode", "log-Jacobian"),
    "folds": ("vtkMRMLSegmentationNode", "folds"),
    "gss": ("vtkMRMLScalarVolumeNode", "GSS"),
    "gvs": ("vtkMRMLScalarVolumeNode", "GVS"),
    "agreement": ("vtkMRMLScalarVolumeNode", "agreement of atlases"),
}


@dataclass(frozen=True)
class AtlasNodes:
    """Volume node and segmentation node of an atlas."""

    volume: Any
    segmentation: Any


@dataclass
class TargetNodes:
    """The nodes of one target; None where there is none (or the user deleted it)."""

    target: Any
    segmentation: Any = None
    transform: Any = None
    warped: Any = None
    log_jacobian: Any = None
    folds: Any = None
    gss: Any = None
    gvs: Any = None
    agreement: Any = None


def nodes_of_target(target_node: Any) -> TargetNodes:
    """Find the nodes that an earlier import made for a target."""
    found = {role: _find(target_node, role) for role in KINDS}
    return TargetNodes(target_node, **found)


def target_of_node(node: Any) -> Any:
    """Return the target that a result node belongs to, None if it is no result."""
    return node.GetNodeReference(_TARGET)


def by_products(scene: Any) -> list[Any]:
    """Return the result nodes that nobody chooses as an input: all but the segmentations.

    A corrected segmentation may well serve as an atlas or as an example for a training.
    """
    found = []
    for class_name in ("vtkMRMLScalarVolumeNode", "vtkMRMLSegmentationNode"):
        for node in nodes_of_class(scene, class_name):
            target = target_of_node(node)
            if target is not None and target.GetNodeReference(PREFIX + "segmentation") is not node:
                found.append(node)
    return found


def _find(target_node: Any, role: str) -> Any:
    node = target_node.GetNodeReference(PREFIX + role)
    if node is None or target_of_node(node) is not target_node:
        return None
    return node


def result_node(target_node: Any, role: str) -> Any:
    """Return the result node of a role, made in the target's folder on first use."""
    node = _find(target_node, role)
    if node is not None:
        return node
    scene = target_node.GetScene()
    class_name, name = KINDS[role]
    node = scene.AddNewNodeByClass(class_name, f"{target_node.GetName()} {name}")
    target_node.SetNodeReferenceID(PREFIX + role, node.GetID())
    node.SetNodeReferenceID(_TARGET, target_node.GetID())
    put_into_folder(node, target_node)
    return node


def let_go(target_node: Any, role: str) -> Any:
    """Make a result node the user's own: a next run makes a new one. Return it, or None."""
    node = _find(target_node, role)
    target_node.RemoveNodeReferenceIDs(PREFIX + role)
    if node is not None:
        node.RemoveNodeReferenceIDs(_TARGET)
    return node


def remove_result(target_node: Any, role: str) -> None:
    """Remove a result node that the newest run did not give."""
    node = let_go(target_node, role)
    if node is not None:
        node.GetScene().RemoveNode(node)


def put_into_folder(node: Any, target_node: Any) -> None:
    """Put a node into the target's folder of the subject hierarchy."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(node.GetScene())
    folder = _folder(hierarchy, target_node)
    item = hierarchy.GetItemByDataNode(node)
    if item == hierarchy.GetInvalidItemID():
        hierarchy.CreateItem(folder, node)
    else:
        hierarchy.SetItemParent(item, folder)


def folder_of_target(target_node: Any) -> int:
    """Return the subject-hierarchy item of a target's folder, made on first use."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(target_node.GetScene())
    return _folder(hierarchy, target_node)


def _folder(hierarchy: Any, target_node: Any) -> int:
    """Find the folder through the results that lie in it: its own number changes when saved."""
    invalid = hierarchy.GetInvalidItemID()
    for role in KINDS:
        node = _find(target_node, role)
        item = invalid if node is None else hierarchy.GetItemByDataNode(node)
        parent = invalid if item == invalid else hierarchy.GetItemParent(item)
        if parent != invalid and hierarchy.GetItemAttribute(parent, _ROLE) == "results":
            return int(parent)
    own = hierarchy.GetItemByDataNode(target_node)
    # Beside the target: below its patient and study where there are some.
    above = hierarchy.GetSceneItemID() if own == invalid else hierarchy.GetItemParent(own)
    folder = hierarchy.CreateFolderItem(above, f"{target_node.GetName()} – propagated")
    hierarchy.SetItemAttribute(folder, _ROLE, "results")
    return int(folder)


def shared_node(scene: Any, class_name: str, role: str, name: str) -> tuple[Any, bool]:
    """Return the node that all targets of a scene share, and whether it was made now."""
    for node in nodes_of_class(scene, class_name):
        if node.GetAttribute(_ROLE) == role:
            return node, False
    node = scene.AddNewNodeByClass(class_name, name)
    node.SetAttribute(_ROLE, role)
    return node, True


def nodes_of_class(scene: Any, class_name: str) -> list[Any]:
    """Return the nodes of a class (and of those derived from it) in a scene."""
    # Not GetNodesByClass: its collection is never freed in Python, and holds every node with it.
    count = scene.GetNumberOfNodesByClass(class_name)
    return [scene.GetNthNodeByClass(number, class_name) for number in range(count)]
