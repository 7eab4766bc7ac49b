"""A propagation run from nodes to nodes: what the module's logic needs, without Qt."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import slicer

from GeminiPropagateLib.errors import PropagateError
from GeminiPropagateLib.jobs import (
    AtlasFiles,
    PropagateOptions,
    RunLayout,
    TargetFile,
    unique_key,
)
from GeminiPropagateLib.labels import Label
from GeminiPropagateLib.mrml_io import read_node, write_volume
from GeminiPropagateLib.results import ImportedTarget, import_target
from GeminiPropagateLib.results_table import results_table, set_row
from GeminiPropagateLib.scene_nodes import PREFIX, AtlasNodes, nodes_of_class
from GeminiPropagateLib.segmentations import overlap_warning, write_labels
from GeminiPropagateLib.session import (
    DONE,
    WAITING,
    PropagationRun,
    RunUpdate,
    TargetState,
    status_in_words,
)
from GeminiPropagateLib.translations import _
from GeminiPropagateLib.voting import MAJORITY

#: Files that can be targets; DICOM series are loaded into Slicer first.
IMAGE_SUFFIXES = (".nrrd", ".nhdr", ".nii", ".nii.gz", ".mha", ".mhd")
_SOURCE = PREFIX + "file"


@dataclass
class SceneUpdate:
    """What :meth:`ScenePropagation.poll` returns.

    Attributes
    ----------
    run
        State, fraction, remaining seconds, message, targets, log lines, error.
    imported
        Targets brought into the scene since the last call.
    scene_closed
        Whether the scene was closed under the run, which is then cancelled.
    """

    run: RunUpdate
    imported: list[ImportedTarget] = field(default_factory=list)
    scene_closed: bool = False


class ScenePropagation:
    """Propagate atlases of a scene to targets and bring results in as they finish.

    Survives a closed scene (the run is cancelled) and deleted nodes (that target's results are not
    imported, the others are). Nodes are held by their ids, never by themselves.

    Parameters
    ----------
    scene
        The MRML scene.
    python, environment
        As for :class:`GeminiPropagateLib.client.EngineClient`.
    """

    def __init__(
        self, scene: Any, python: str, environment: Mapping[str, str] | None = None
    ) -> None:
        self._scene = scene
        self._python = python
        self._environment = environment
        self._run: PropagationRun | None = None
        self._layout: RunLayout | None = None
        self._observer: int | None = None
        self._closed = False
        self._vote_by = MAJORITY
        self._labels: list[Label] = []
        self._atlases: list[AtlasFiles] = []
        self._nodes: dict[str, str] = {}
        self._paths: dict[str, Path] = {}
        self._log: list[tuple[str, str]] = []
        self._notes: list[str] = []

    @property
    def run(self) -> PropagationRun | None:
        """The run from files to files, None before :meth:`start`."""
        return self._run

    def start(
        self,
        atlases: Sequence[AtlasNodes],
        targets: Sequence[Any],
        options: PropagateOptions | None = None,
        vote_by: str = MAJORITY,
        out: Path | None = None,
    ) -> None:
        """Write the inputs and start the engine.

        Parameters
        ----------
        atlases
            At least one; with several, labels are matched by value and have to have one name each.
        targets
            Volume nodes, or paths of image files (their nodes are loaded when they are finished).
        options
            How to propagate.
        vote_by
            ``majority`` or ``similarity``, with several atlases.
        out
            Folder to keep the results in; None: a temporary one, removed by :meth:`close`.

        Raises
        ------
        PropagateError
            If an input cannot be used or the interpreter cannot be started; nothing runs then.
        """
        self._check(atlases, targets)
        self.close()
        self._vote_by, self._log = vote_by, []
        try:
            self._layout = RunLayout.temporary() if out is None else RunLayout(Path(out))
            self._atlases = self._write_atlases(atlases)
            files = self._write_targets(targets)
            self._run = PropagationRun(
                self._python, self._atlases, files, self._layout, options, self._environment
            )
            self._run.start()
        except OSError as error:
            self.close()
            raise PropagateError(
                _(
                    "The inputs cannot be written ({error}); choose another folder for the results."
                ).format(error=error)
            ) from error
        except BaseException:
            self.close()
            raise
        self._closed = False
        self._observer = self._scene.AddObserver(
            slicer.vtkMRMLScene.StartCloseEvent, self._on_close
        )
        self._show_waiting()

    def poll(self) -> SceneUpdate:
        """Take in what happened and import finished targets; call it from a timer.

        Raises
        ------
        PropagateError
            If nothing was started.
        """
        if self._run is None:
            raise PropagateError(_("No propagation was started."))
        update = SceneUpdate(self._run.poll(), scene_closed=self._closed)
        update.run.log[:0] = self._log
        self._log = []
        if not self._closed:
            for state in update.run.finished:
                self._take(state, update)
        return update

    def cancel(self) -> None:
        """Ask the run to stop; keep polling until its state is final."""
        if self._run is not None:
            self._run.cancel()

    def close(self) -> None:
        """End everything and remove temporary files; harmless twice."""
        if self._observer is not None:
            self._scene.RemoveObserver(self._observer)
            self._observer = None
        if self._run is not None:
            self._run.close()
            self._run = None
        if self._layout is not None:
            self._layout.remove()
            self._layout = None
        self._nodes, self._paths = {}, {}

    # -- inputs --------------------------------------------------------------------------------

    def _check(self, atlases: Sequence[AtlasNodes], targets: Sequence[Any]) -> None:
        if not atlases:
            raise PropagateError(_("Choose an atlas: a volume and its segmentation."))
        for atlas in atlases:
            if atlas.volume is None or atlas.segmentation is None:
                raise PropagateError(_("Choose both a volume and a segmentation for the atlas."))
        if not targets:
            raise PropagateError(_("Choose at least one target volume, or a folder of images."))
        for atlas in atlases:
            if len(atlases) == 1 and any(target is atlas.volume for target in targets):
                raise PropagateError(
                    _("{volume} is the atlas; choose other volumes as targets.").format(
                        volume=atlas.volume.GetName()
                    )
                )

    def _write_atlases(self, atlases: Sequence[AtlasNodes]) -> list[AtlasFiles]:
        assert self._layout is not None
        taken: set[str] = set()
        files, self._labels, self._notes = [], [], []
        for atlas in atlases:
            key = unique_key(atlas.volume.GetName(), taken)
            image = self._layout.input_path("atlas", key)
            labels = self._layout.input_path("labels", key)
            write_volume(atlas.volume, image)
            self._notes.append(overlap_warning(atlas.segmentation, atlas.volume))
            self._merge_labels(write_labels(atlas.segmentation, atlas.volume, labels), atlas)
            files.append(AtlasFiles(key, atlas.volume.GetName(), image, labels))
        return files

    def _merge_labels(self, labels: Sequence[Label], atlas: AtlasNodes) -> None:
        known = {label.value: label for label in self._labels}
        for label in labels:
            other = known.get(label.value)
            if other is None:
                self._labels.append(label)
            elif other.name != label.name:
                raise PropagateError(
                    _(
                        "The atlases disagree on the label value {value}: it is {name} in "
                        "one and {other} in {segmentation}; give them the same names and "
                        "values."
                    ).format(
                        value=label.value,
                        name=other.name,
                        other=label.name,
                        segmentation=atlas.segmentation.GetName(),
                    )
                )

    def _write_targets(self, targets: Sequence[Any]) -> list[TargetFile]:
        assert self._layout is not None
        self._nodes, self._paths = {}, {}
        taken: set[str] = set()
        keys = {}
        # Files first: the engine names their results after them, nodes take what is left.
        for number in sorted(range(len(targets)), key=lambda n: not _is_file(targets[n])):
            name = _name_of(targets[number])
            keys[number] = unique_key(name, taken)
            if _is_file(targets[number]) and keys[number] != unique_key(name, set()):
                raise PropagateError(
                    _(
                        "Two targets are called {name}, and their results would be mixed up; "
                        "rename one of the files."
                    ).format(name=name)
                )
        return [self._target_file(target, keys[n]) for n, target in enumerate(targets)]

    def _target_file(self, target: Any, key: str) -> TargetFile:
        assert self._layout is not None
        if _is_file(target):
            # The engine reads the user's file as it is.
            self._paths[key] = Path(target).resolve()
            return TargetFile(key, _name_of(target), self._paths[key])
        self._nodes[key] = target.GetID()
        image = self._layout.input_path("target", key)
        write_volume(target, image)
        return TargetFile(key, _name_of(target), image)

    # -- results -------------------------------------------------------------------------------

    def _on_close(self, caller: Any, event: Any) -> None:
        self._closed = True
        if self._run is not None:
            self._run.cancel()

    def _show_waiting(self) -> None:
        table = results_table(self._scene)
        for name in self._nodes.values():
            node = self._scene.GetNodeByID(name)
            if node is not None:
                set_row(table, node, status_in_words(WAITING))

    def _take(self, state: TargetState, update: SceneUpdate) -> None:
        """Bring one ended target into the scene, or say in its row why there is nothing."""
        table = results_table(self._scene)
        if state.status != DONE:
            node = self._node(state)
            if node is not None:
                set_row(table, node, f"{status_in_words(state.status)}: {state.message}")
            return
        try:
            node = self._node(state, load=True)
            if node is None:
                text = _("{name} was removed from the scene; its results were not loaded.").format(
                    name=state.file.name
                )
                update.run.log.append(("warning", text))
                state.message = text
                return
            imported = self._import(node, state)
        except PropagateError as error:
            state.status, state.message = "failed", str(error)
            update.run.log.append(("error", f"{state.file.name}: {error}"))
            node = self._node(state)
            if node is not None:
                set_row(table, node, _("failed: {error}").format(error=error))
            return
        imported.warnings += filter(None, self._notes)
        for sentence in imported.warnings:
            update.run.log.append(("warning", f"{state.file.name}: {sentence}"))
        set_row(
            table,
            node,
            "; ".join(filter(None, (status_in_words(DONE), state.message, *imported.warnings))),
            imported.confidence,
            imported.fold_percent,
            imported.largest_displacement_mm,
        )
        update.imported.append(imported)

    def _import(self, node: Any, state: TargetState) -> ImportedTarget:
        given = {atlas.key: atlas.labels for atlas in self._atlases}
        return import_target(node, state.folders, self._labels, self._vote_by, given)

    def _node(self, state: TargetState, load: bool = False) -> Any:
        """Return a target's volume node; a file is loaded once, and found again by its name."""
        path = self._paths.get(state.file.key)
        if path is None:
            return self._scene.GetNodeByID(self._nodes[state.file.key])
        for node in nodes_of_class(self._scene, "vtkMRMLScalarVolumeNode"):
            if node.GetAttribute(_SOURCE) == str(path):
                return node
        return _load(self._scene, path, state.file.name) if load else None


def _load(scene: Any, path: Path, name: str) -> Any:
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    try:
        read_node(node, path)
    except PropagateError:
        scene.RemoveNode(node)
        raise
    node.SetAttribute(_SOURCE, str(path))
    node.CreateDefaultDisplayNodes()
    return node


def images_in_folder(folder: Path) -> list[Path]:
    """Return the image files of a folder that can be targets, sorted.

    Raises
    ------
    PropagateError
        If there is none.
    """
    files: list[Path] = []
    with contextlib.suppress(OSError):
        files = sorted(
            path
            for path in Path(folder).iterdir()
            if path.is_file()
            and not path.name.startswith(".")
            and path.name.lower().endswith(IMAGE_SUFFIXES)
        )
    if not files:
        raise PropagateError(
            _(
                "The folder {folder} holds no image ({suffixes}); choose another, or load DICOM "
                "series into the scene."
            ).format(folder=folder, suffixes=", ".join(IMAGE_SUFFIXES))
        )
    return files


def _is_file(target: Any) -> bool:
    return isinstance(target, str | os.PathLike)


def _name_of(target: Any) -> str:
    return _stem(Path(target)) if _is_file(target) else str(target.GetName())


def _stem(path: Path) -> str:
    name = path.name
    for suffix in sorted(IMAGE_SUFFIXES, key=len, reverse=True):
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return name
