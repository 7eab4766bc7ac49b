"""What to train with: preset, starting model, device, advanced settings; and what is missing."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import (
    QComboBox,
    QFormLayout,
    QHBoxLayout,
    QPushButton,
    QSizePolicy,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from napari_gemini.engine.device import format_bytes
from napari_gemini.engine.jobs import PingJob, TrainJob, make_job
from napari_gemini.engine.starting import starting_network
from napari_gemini.errors import GeminiError, StudyError
from napari_gemini.settings import NetworkSettings, TrainSettings, preset
from napari_gemini.widgets.common.connections import Connections
from napari_gemini.widgets.common.messages import Level
from napari_gemini.widgets.common.models import NO_MODEL, ModelChoice
from napari_gemini.widgets.pair.background import in_background
from napari_gemini.widgets.training.advanced import AdvancedSettings
from napari_gemini.widgets.training.readiness import (
    Check,
    Engine,
    LabelValues,
    StudyFacts,
    check_readiness,
    describe_device,
    device_in_short,
    fitted,
    needed_bytes,
    smaller_settings,
    study_facts,
)
from napari_gemini.widgets.training.readiness_view import ReadinessView

if TYPE_CHECKING:
    from napari_gemini.study.study import Study
    from napari_gemini.widgets.common.session import Session

PRESETS = {
    "quick": "quick (CPU, a first look)",
    "standard": "standard (a night, or a GPU)",
    "paper": "paper (a large GPU)",
}
_FRESH = ModelChoice("none", NO_MODEL, None, "random weights")
#: Milliseconds after the last change before the study is looked at again.
_PATIENCE = 300

Say = Callable[[Level, str], None]


class SetupPanel(QWidget):
    """Choices of a training and the five questions.

    Parameters
    ----------
    session
        Of the viewer.
    say
        Shows a sentence in the dock.
    """

    def __init__(self, session: Session, say: Say) -> None:
        super().__init__()
        self.session = session
        self._say = say
        self._closed = False
        self._asked = 0
        self._facts: StudyFacts | None = None
        self._values = LabelValues()
        self.engine_state = Engine()
        self.checks: list[Check] = []
        self.wrong = ""
        self.connections = Connections()
        self.on_ready: Callable[[], None] = _nothing
        self._init_network: NetworkSettings | None = None
        self._make_choices()
        self._make_checks()
        self._lay_out()
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_PATIENCE)
        self._timer.timeout.connect(self._look_at_study)
        self.connections.connect(session.study_changed, self._on_study)
        self.connections.connect(session.cases_changed, self._look_soon)
        self.connections.connect(session.models_changed, self._fill_models)
        self._on_study()

    # -- widgets -------------------------------------------------------------------------------

    def _make_choices(self) -> None:
        self.preset = QComboBox(self)
        for name, words in PRESETS.items():
            self.preset.addItem(words, name)
        self.preset.setToolTip("Where the advanced settings start from")
        self.model = QComboBox(self)
        self.model.setToolTip(
            "Weights to begin with: a run of this study or a shipped model. The layout of the "
            "network is then that model's."
        )
        self.device = QComboBox(self)
        self.device.setToolTip("Where it runs, with its free memory")
        self.refresh_button = QToolButton(self)
        self.refresh_button.setText("↻")
        self.refresh_button.setToolTip("Look again at the study and at free memory")
        for box in (self.preset, self.model, self.device):
            box.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self._dimension: int = 3
        self.advanced = AdvancedSettings(self.update_checks)
        self.form = self.advanced.form
        self.preset.currentIndexChanged.connect(self._on_preset)
        self.model.currentIndexChanged.connect(self._on_model)
        self.device.currentIndexChanged.connect(self._on_device)
        self.refresh_button.clicked.connect(self.refresh)
        self._fill_devices()

    def _make_checks(self) -> None:
        self.readiness = ReadinessView(parent=self)
        self.smaller_button = QPushButton(self)
        self.smaller_button.clicked.connect(lambda: self.use_smaller())
        self.smaller_button.hide()

    def _lay_out(self) -> None:
        form = QFormLayout()
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        form.addRow("Preset", self.preset)
        form.addRow("Start from", self.model)
        device = QHBoxLayout()
        device.addWidget(self.device, 1)
        device.addWidget(self.refresh_button)
        form.addRow("Device", device)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(form)
        layout.addWidget(self.advanced)
        layout.addWidget(self.readiness)
        layout.addWidget(self.smaller_button)

    # -- choices -------------------------------------------------------------------------------

    def _on_study(self) -> None:
        study = self.session.study
        self._facts = None
        if study is not None and study.dimension != self._dimension:
            self._dimension = study.dimension
            self._on_preset()
        self._fill_models()
        self._look_at_study()

    def _on_preset(self, *_: object) -> None:
        settings = preset(self.preset.currentData(), 2 if self._dimension == 2 else 3)
        self.form.value = self._fit_to_model(settings)
        self.update_checks()

    def _fit_to_model(self, settings: TrainSettings) -> TrainSettings:
        """Take over the layout of the starting model: its weights fit no other."""
        init = self._init_network
        return settings if init is None else settings.model_copy(update={"network": init})

    def _fill_models(self) -> None:
        chosen = self.model.currentData()
        self.model.blockSignals(True)
        self.model.clear()
        models = self.session.models() if self.session.study is not None else []
        for choice in [_FRESH, *(m for m in models if m.spec != NO_MODEL)]:
            self.model.addItem(f"{choice.name} ({choice.description})", choice)
            if isinstance(chosen, ModelChoice) and chosen.spec == choice.spec:
                self.model.setCurrentIndex(self.model.count() - 1)
        self.model.blockSignals(False)
        if chosen != self.model.currentData():
            self._on_model()

    def _on_model(self, *_: object) -> None:
        choice = self.model.currentData()
        before = self._init_network
        self._init_network = None
        if isinstance(choice, ModelChoice) and choice.spec != NO_MODEL:
            try:
                self._init_network = starting_network(choice.spec)
            except GeminiError as error:
                self._say("error", str(error))
        if self._init_network is not None:
            self._set_network(self._init_network)
        elif before is not None:
            self._on_preset()
        self.update_checks()

    def _set_network(self, network: NetworkSettings) -> None:
        try:
            settings = self.form.value
        except GeminiError:
            settings = preset(self.preset.currentData())
        self.form.value = settings.model_copy(update={"network": network})

    @property
    def init(self) -> str | None:
        """What a job gets as its starting model."""
        choice = self.model.currentData()
        fresh = not isinstance(choice, ModelChoice) or choice.spec == NO_MODEL
        return None if fresh else choice.spec

    def settings(self) -> TrainSettings:
        """Return the settings as they are chosen.

        Raises
        ------
        InputError
            If the advanced settings do not go together.
        """
        settings = self.form.value
        base = preset(self.preset.currentData(), settings.network.dimension)
        same = settings.model_dump(exclude={"preset"}) == base.model_dump(exclude={"preset"})
        return settings.model_copy(update={"preset": base.preset if same else None})

    def job(self) -> TrainJob:
        """Return the training that is chosen.

        Raises
        ------
        GeminiError
            If no study is open or the settings do not go together.
        """
        study = self._study()
        return make_job(
            TrainJob,
            study=study.folder,
            settings=fitted(self.settings(), study),
            init=self.init,
            device=self.device.currentData(),
        )

    def _study(self) -> Study:
        if self.session.study is None:
            raise StudyError("No study is open: open or make one in the Study dock.")
        return self.session.study

    # -- engine and study ----------------------------------------------------------------------

    def refresh(self) -> None:
        """Ask the child for its devices and look at the study again."""
        self._look_at_study()
        try:
            self.session.engine.run(
                PingJob(devices=True),
                description="Looking for devices",
                on_result=lambda values: self._on_engine(Engine(values.get("devices") or [])),
                on_error=lambda sentence: self._on_engine(Engine(error=sentence)),
            )
        except GeminiError as error:
            self._on_engine(Engine(error=str(error)))

    def _on_engine(self, engine: Engine) -> None:
        if self._closed:
            return
        self.engine_state = engine
        self._fill_devices()
        self.update_checks()

    def _fill_devices(self) -> None:
        chosen = self.device.currentData() or self.session.preferences.device
        self.device.blockSignals(True)
        self.device.clear()
        auto = self.engine_state.device("auto")
        words = "" if auto is None else f": {device_in_short(auto)}"
        self.device.addItem(f"auto{words}", "auto")
        for device in self.engine_state.devices or []:
            self.device.addItem(device_in_short(device), str(device["name"]))
            tip = describe_device(device)
            self.device.setItemData(self.device.count() - 1, tip, Qt.ItemDataRole.ToolTipRole)
        place = self.device.findData(chosen)
        if place < 0 and self.engine_state.devices is None:
            # Kept until the child has told what there is.
            self.device.addItem(str(chosen), chosen)
            place = self.device.count() - 1
        self.device.setCurrentIndex(max(place, 0))
        self.device.blockSignals(False)

    def _look_soon(self) -> None:
        self._timer.start()

    def _look_at_study(self) -> None:
        study = self.session.study
        self._asked += 1
        self.update_checks()
        if study is None:
            return
        asked = self._asked

        def arrived(facts: StudyFacts) -> None:
            if not self._closed and asked == self._asked:
                self._facts = facts
                self.update_checks()

        def failed(sentence: str) -> None:
            if not self._closed and asked == self._asked:
                self._say("error", sentence)

        in_background(lambda: study_facts(study, self._values), arrived, failed)

    # -- readiness -----------------------------------------------------------------------------

    def _on_device(self, *_: object) -> None:
        self.update_checks()

    def update_checks(self) -> None:
        """Answer the five questions anew."""
        if not hasattr(self, "readiness"):
            return  # while the panel is being made
        try:
            settings = self.form.value
            wrong = ""
        except GeminiError as error:
            settings, wrong = preset("quick"), str(error)
        self.checks = check_readiness(
            self.session.study,
            self._facts,
            self.engine_state,
            settings,
            self.device.currentData() or "auto",
            self._init_network,
        )
        self.wrong = wrong
        self.readiness.set_checks(self.checks, self.ready, wrong)
        self._offer_smaller(settings)
        self.on_ready()

    @property
    def ready(self) -> bool:
        """Whether nothing keeps a training from starting."""
        *asked, memory = self.checks
        open_ = any(check.answer == "unknown" for check in asked)
        return not (self.wrong or open_ or memory.blocks or any(c.blocks for c in asked))

    def _offer_smaller(self, settings: TrainSettings) -> None:
        tight = self.checks[4].answer == "no" and not self.checks[4].blocks
        self.offer_smaller(settings if tight else None)

    def offer_smaller(self, settings: TrainSettings | None) -> bool:
        """Offer settings that need less memory than these; None takes the offer back."""
        study = self.session.study
        offer = None
        if settings is not None and study is not None and self._init_network is None:
            offer = smaller_settings(settings, study)
        self.smaller_button.setVisible(offer is not None)
        if offer is not None:
            self.smaller_button.setText("Use a smaller setting")
            self.smaller_button.setToolTip(f"Takes {offer[1]}")
        return offer is not None

    def use_smaller(self) -> str:
        """Choose settings that need less memory; returns what was changed, in words."""
        try:
            found = smaller_settings(self.form.value, self._study())
        except GeminiError as error:
            self._say("error", str(error))
            return ""
        if found is None:
            self._say(
                "info",
                "These settings need the least memory that is possible; a coarser study grid "
                "needs less.",
            )
            return ""
        settings, words = found
        self.form.value = settings
        self.update_checks()
        self._say("info", f"Changed to {words}.")
        return words

    def memory_question(self) -> str:
        """Return what to ask before starting, empty where memory is no question."""
        study = self.session.study
        if study is None:
            return ""
        need = needed_bytes(self.settings(), study)
        limit = self.session.preferences.memory_limit_gb
        if limit > 0 and need > limit * 1e9:
            return (
                f"This needs about {format_bytes(need)} of memory, more than the {limit:g} GB in "
                "the preferences. Start all the same?"
            )
        if self.checks[4].answer == "no":
            found = self.checks[4].words.partition(":")[0]
            return f"{found}. It will probably fail. Start all the same?"
        return ""

    def tear_down(self) -> None:
        """Let go of the session."""
        self._closed = True
        self._timer.stop()
        self.connections.drop()


def _nothing() -> None:
    return
