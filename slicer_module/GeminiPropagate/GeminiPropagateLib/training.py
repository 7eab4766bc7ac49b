"""Few-shot training from the scene: study, training, prediction of the other scans, import."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from GeminiPropagateLib.client import MISSING_ERROR, EngineClient
from GeminiPropagateLib.command_run import CommandRun
from GeminiPropagateLib.errors import INSTALL, PropagateError
from GeminiPropagateLib.jobs import predict_job, unique_key
from GeminiPropagateLib.mrml_io import write_volume
from GeminiPropagateLib.results import import_labels
from GeminiPropagateLib.results_table import results_table, set_row
from GeminiPropagateLib.scene_nodes import AtlasNodes
from GeminiPropagateLib.scene_study import SceneStudy
from GeminiPropagateLib.sentences import in_panel_words
from GeminiPropagateLib.training_run import (
    FINAL_STATES,
    TrainingRun,
    TrainingUpdate,
    TrainOptions,
    state_in_words,
    trainings_of_study,
)
from GeminiPropagateLib.translations import _

IDLE, PREPARING, TRAINING, TRAINED = "idle", "preparing", "training", "trained"
PREDICTING, DONE, FAILED = "predicting", "done", "failed"


@dataclass
class FewShotUpdate:
    """What :meth:`FewShotTraining.poll` returns.

    Attributes
    ----------
    phase
        ``idle``, ``preparing`` (study), ``training``, ``trained`` (ended or stopped with a model),
        ``predicting``, ``done`` or ``failed``.
    training
        Newest state of the training; None before.
    fraction, remaining, message
        Of the phase.
    imported
        (target volume node, segmentation node) since the last call.
    log
        New lines as (level, text).
    error, step
        One sentence when the phase failed, and where it can be mended, else empty.
    """

    phase: str
    training: TrainingUpdate | None = None
    fraction: float = 0.0
    remaining: float | None = None
    message: str = ""
    imported: list[tuple[Any, Any]] = field(default_factory=list)
    log: list[tuple[str, str]] = field(default_factory=list)
    error: str = ""
    step: str = ""


class FewShotTraining:
    """Train on segmented volumes of the scene and label the others.

    Parameters
    ----------
    scene
        The MRML scene.
    python, environment
        As for :class:`GeminiPropagateLib.client.EngineClient`.
    folder
        Where the scans are written and the study is made (``images``, ``labels``, ``study``); it
        stays, since a training outlives Slicer.
    """

    def __init__(
        self, scene: Any, python: str, folder: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self._scene = scene
        self._python = python
        self._environment = environment
        self._study = SceneStudy(folder)
        self._options = TrainOptions()
        self._command: CommandRun | None = None
        self._run: TrainingRun | None = None
        self._client: EngineClient | None = None
        self._job = ""
        self._nodes: dict[str, str] = {}
        self._now = FewShotUpdate(IDLE)

    @property
    def run_folder(self) -> Path | None:
        """Folder of the training, which is also the model; None before there is one."""
        return None if self._run is None else self._run.folder

    def start(
        self,
        labelled: Sequence[AtlasNodes],
        others: Sequence[Any],
        options: TrainOptions | None = None,
    ) -> None:
        """Write the scans, make the study and start the training.

        Parameters
        ----------
        labelled
            Volumes with their segmentations; labels are matched by name.
        others
            Volume nodes without labels: they train the correspondence and are predicted.
        options
            How to train.

        Raises
        ------
        PropagateError
            If an input cannot be used or a program cannot be started.
        """
        self._options = options or TrainOptions()
        self._study.write(labelled, others)
        words = ["study", "new", str(self._study.study), str(self._study.images)]
        words += ["--labels", str(self._study.labels_folder)]
        self._command = CommandRun(self._python, words, self._environment)
        self._now = FewShotUpdate(PREPARING, message=_("Making the study"))

    def attach(self) -> None:
        """Follow the latest training of the folder, one that was started earlier.

        Raises
        ------
        PropagateError
            If there is none.
        """
        self._study.read()
        runs = trainings_of_study(self._study.study)
        if not runs:
            raise PropagateError(
                _("{folder} has no training yet; start one.").format(folder=self._study.folder)
            )
        self._run = self._training(runs[0])
        self._now = FewShotUpdate(TRAINING, message=_("Following the training"))

    def _training(self, name: str | None = None) -> TrainingRun:
        return TrainingRun(self._python, self._study.study, name, self._environment)

    def stop(self) -> None:
        """Ask the training to write a checkpoint and end."""
        if self._run is not None and self._now.phase == TRAINING:
            self._run.stop()

    def resume(self, device: str = "auto") -> None:
        """Go on with the training from its last checkpoint.

        Raises
        ------
        PropagateError
            If there is none, or the interpreter cannot be started.
        """
        if self._run is None:
            self.attach()
        assert self._run is not None
        self._run.resume(device)
        self._now = FewShotUpdate(TRAINING, message=_("Resuming the training"))

    def predict(self, targets: Sequence[Any] | None = None, device: str = "auto") -> None:
        """Label volumes of the scene with the trained model.

        Parameters
        ----------
        targets
            Volume nodes; None: the scans of the study without labels.
        device
            As for :class:`GeminiPropagateLib.jobs.PropagateOptions`.

        Raises
        ------
        PropagateError
            If there is no model yet, an input cannot be used or the interpreter cannot be started.
        """
        if self._run is None or not self._run.has_model:
            raise PropagateError(
                _("There is no trained model yet; train until the first checkpoint.")
            )
        study = self._study.study if targets is None else None
        images = [] if targets is None else self._write_targets(targets)
        if targets is None:
            self._nodes = {}
            for case in self._study.cases:
                node = None if case.labelled else self._study.node_of(case, self._scene)
                if node is not None:
                    self._nodes[case.key] = node.GetID()
        self._client = self._client or EngineClient(self._python, self._environment)
        out = self._study.predictions / self._run.name
        job = predict_job(self._run.folder, images, out, study, device)
        self._job = self._client.submit(job)
        self._now = FewShotUpdate(PREDICTING, self._now.training, message=_("Loading the model"))

    def _write_targets(self, targets: Sequence[Any]) -> list[Path]:
        folder = self._study.folder / "targets"
        folder.mkdir(exist_ok=True)
        taken: set[str] = set()
        self._nodes, images = {}, []
        for target in targets:
            key = unique_key(target.GetName(), taken)
            images.append(folder / f"{key}.nrrd")
            write_volume(target, images[-1])
            self._nodes[key] = target.GetID()
        if not images:
            raise PropagateError(_("Choose at least one volume to label."))
        return images

    def poll(self) -> FewShotUpdate:
        """Take in what happened since the last call; call it from a timer."""
        self._now.imported, self._now.log = [], []
        if self._now.phase == PREPARING:
            self._poll_study()
        elif self._now.phase == TRAINING:
            self._poll_training()
        elif self._now.phase == PREDICTING:
            self._poll_prediction()
        return self._now

    def close(self) -> None:
        """Stop listening; a training goes on, a prediction ends."""
        if self._command is not None:
            self._command.kill()
            self._command = None
        if self._client is not None:
            self._client.close()
            self._client = None

    # -- phases --------------------------------------------------------------------------------

    def _fail(self, sentence: str, step: str = "") -> None:
        self._now.step = step
        self._now.phase, self._now.error = FAILED, in_panel_words(sentence)
        self._now.message = self._now.error
        self._now.log.append(("error", self._now.error))

    def _poll_study(self) -> None:
        assert self._command is not None
        try:
            if self._command.poll() is None:
                return
            self._command = None
            self._run = self._training()
            self._run.start(self._options)
        except PropagateError as error:
            self._command = None
            self._fail(str(error), error.step)
            return
        self._now.phase, self._now.message = TRAINING, _("Starting the training")

    def _poll_training(self) -> None:
        assert self._run is not None
        training = self._run.poll()
        now = self._now
        now.training, now.remaining = training, training.remaining
        now.log += training.log
        now.fraction = training.step / training.steps if training.steps else 0.0
        now.message = _("{state}: step {step} of {steps}").format(
            state=state_in_words(training.state), step=training.step, steps=training.steps or "?"
        )
        if training.state in FINAL_STATES:
            if self._run.has_model and not training.error:
                now.phase = TRAINED
            else:
                sentence = _("The training ended before its first checkpoint.")
                self._fail(training.error or sentence, training.mend)

    def _poll_prediction(self) -> None:
        assert self._client is not None
        for event in self._client.poll():
            kind = event["event"]
            if kind == "log":
                text = in_panel_words(str(event.get("message", "")))
                self._now.log.append((str(event.get("level", "info")), text))
            elif event.get("job") != self._job:
                continue
            elif kind == "progress":
                self._now.fraction = float(event.get("done", 0)) / float(event.get("total") or 1)
                self._now.remaining = event.get("remaining")
                self._now.message = str(event.get("message", ""))
            elif kind == "error":
                missing = event.get("kind") == MISSING_ERROR
                self._fail(str(event.get("message", "")), INSTALL if missing else "")
            elif kind == "cancelled":
                self._now.phase, self._now.message = TRAINED, _("Cancelled")
            elif kind == "result":
                self._import(event.get("values") or {})

    def _import(self, values: Mapping[str, Any]) -> None:
        table = results_table(self._scene)
        for row in values.get("cases") or []:
            node = self._scene.GetNodeByID(self._nodes.get(str(row.get("case")), ""))
            if node is None:
                continue
            try:
                path = Path(row["files"][0])
                segmentation, notes = import_labels(node, path, self._study.labels)
            except (PropagateError, LookupError, TypeError) as error:
                self._now.log.append(("error", f"{node.GetName()}: {error}"))
                set_row(table, node, _("failed: {error}").format(error=error))
                continue
            self._now.log += [("warning", note) for note in notes]
            set_row(table, node, _("predicted"), row.get("agreement"), row.get("fold_percent"))
            self._now.imported.append((node, segmentation))
        for key, sentence in (values.get("failed") or {}).items():
            node = self._scene.GetNodeByID(self._nodes.get(key, ""))
            self._now.log.append(("error", f"{key}: {sentence}"))
            if node is not None:
                set_row(
                    table, node, _("failed: {error}").format(error=in_panel_words(str(sentence)))
                )
        self._now.phase, self._now.fraction, self._now.remaining = DONE, 1.0, None
        self._now.message = _("{imported} volumes are labelled").format(
            imported=len(self._now.imported)
        )
