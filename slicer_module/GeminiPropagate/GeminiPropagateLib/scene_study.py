"""Scans and segmentations of a scene as files that a study is made from, and back by name."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from GeminiPropagateLib.errors import PropagateError
from GeminiPropagateLib.jobs import unique_key
from GeminiPropagateLib.labels import Label
from GeminiPropagateLib.mrml_io import write_volume
from GeminiPropagateLib.scene_nodes import AtlasNodes
from GeminiPropagateLib.segmentations import labels_of_segmentation, write_labels
from GeminiPropagateLib.translations import _

_RECORD = "slicer.json"


@dataclass(frozen=True)
class StudyCase:
    """A scan of the scene in the study: id of the case, id and name of its node."""

    key: str
    node_id: str
    name: str
    labelled: bool


class SceneStudy:
    """The folder that holds scans, labels, the study and what they are called in the scene.

    Parameters
    ----------
    folder
        ``images``, ``labels``, ``study`` and ``predictions`` are made in it; it stays.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self.images = self.folder / "images"
        self.labels_folder = self.folder / "labels"
        self.study = self.folder / "study"
        self.predictions = self.folder / "predictions"
        self.cases: list[StudyCase] = []
        self.labels: list[Label] = []

    @property
    def exists(self) -> bool:
        """Whether a study was made here."""
        return (self.study / "study.json").is_file()

    def write(self, labelled: Sequence[AtlasNodes], others: Sequence[Any]) -> None:
        """Write scans and labels.

        Labels that are called the same in two segmentations are the same structure, whatever
        their values.

        Parameters
        ----------
        labelled
            Volumes with their segmentations.
        others
            Volumes without.

        Raises
        ------
        PropagateError
            If there is a study already, an input cannot be used or a file cannot be written.
        """
        if self.exists:
            raise PropagateError(
                _(
                    "{folder} holds a study already; resume its training or choose an empty folder."
                ).format(folder=self.folder)
            )
        if not labelled:
            raise PropagateError(
                _("Choose volumes with segmentations to learn from; five are usual.")
            )
        self.labels = common_labels([pair.segmentation for pair in labelled])
        values = {label.name: label.value for label in self.labels}
        taken: set[str] = set()
        try:
            for place in (self.images, self.labels_folder):
                place.mkdir(parents=True, exist_ok=True)
            self.cases = []
            for pair in labelled:
                case = self._write_scan(pair.volume, taken, labelled=True)
                path = self.labels_folder / f"{case.key}.nrrd"
                write_labels(pair.segmentation, pair.volume, path, values)
            for volume in others:
                self._write_scan(volume, taken, labelled=False)
            self._write_record()
        except OSError as error:
            raise PropagateError(
                _(
                    "The study cannot be written into {folder} ({strerror}); choose another folder."
                ).format(folder=self.folder, strerror=error.strerror)
            ) from error

    def _write_scan(self, volume: Any, taken: set[str], labelled: bool) -> StudyCase:
        key = unique_key(volume.GetName(), taken)
        write_volume(volume, self.images / f"{key}.nrrd")
        case = StudyCase(key, volume.GetID(), volume.GetName(), labelled)
        self.cases.append(case)
        return case

    def _write_record(self) -> None:
        record = {
            "labels": [asdict(label) for label in self.labels],
            "cases": [asdict(case) for case in self.cases],
        }
        (self.folder / _RECORD).write_text(json.dumps(record, indent=1), encoding="utf-8")

    def read(self) -> None:
        """Read what an earlier session wrote.

        Raises
        ------
        PropagateError
            If there is no study here.
        """
        try:
            record = json.loads((self.folder / _RECORD).read_text(encoding="utf-8"))
            self.cases = [StudyCase(**case) for case in record["cases"]]
            self.labels = [_label(entry) for entry in record["labels"]]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise PropagateError(
                _(
                    "{folder} holds no study of this module; choose the folder of a training."
                ).format(folder=self.folder)
            ) from error

    def node_of(self, case: StudyCase, scene: Any) -> Any:
        """Return the volume node of a case: the same node, else one of its name, else None."""
        node = scene.GetNodeByID(case.node_id)
        if node is not None and node.GetName() == case.name:
            return node
        return scene.GetFirstNode(case.name, "vtkMRMLScalarVolumeNode")


def _label(entry: Mapping[str, Any]) -> Label:
    red, green, blue = entry["color"]
    return Label(int(entry["value"]), entry["name"], (red, green, blue), entry["terminology"])


def common_labels(segmentations: Sequence[Any]) -> list[Label]:
    """Return the labels of several segmentations, one for each name.

    A name keeps the value that it has in the first segmentation unless another name has it.

    Raises
    ------
    PropagateError
        If two segments of one segmentation have the same name, or there is no segment.
    """
    common: dict[str, Label] = {}
    for node in segmentations:
        labels = labels_of_segmentation(node)
        names = [label.name for label in labels]
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise PropagateError(
                _(
                    "The segmentation {node} has two segments called {twice}; give them "
                    "different names."
                ).format(node=node.GetName(), twice=twice)
            )
        for label in labels:
            if label.name not in common:
                common[label.name] = _with_free_value(label, common)
    if not common:
        raise PropagateError(_("The segmentations have no segments; draw or load some."))
    return list(common.values())


def _with_free_value(label: Label, common: Mapping[str, Label]) -> Label:
    taken = {other.value for other in common.values()}
    value = label.value
    while value in taken:
        value += 1
    return Label(value, label.name, label.color, label.terminology)
