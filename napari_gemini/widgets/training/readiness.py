"""Is everything there to train? Five questions, each answered in words.

What has to be read from files is read by :func:`study_facts`, which a worker's thread calls; the
answers are made of plain data by :func:`check_readiness`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from napari_gemini.engine.device import format_bytes
from napari_gemini.engine.memory import estimate_training_bytes
from napari_gemini.errors import GeminiError
from napari_gemini.settings import NetworkSettings, TrainSettings
from napari_gemini.study.study import Study

#: How many labelled scans the method was published with.
WANTED_LABELLED = 5
FEWEST_SCANS = 2
#: Estimates may be wrong by less than this factor.
_DOUBTFUL = 2.0

Answer = Literal["yes", "note", "no", "unknown"]


@dataclass(frozen=True)
class Check:
    """One question.

    Attributes
    ----------
    title
        A few words.
    answer
        ``yes``; ``note`` for what works but could be better; ``no`` for what is missing;
        ``unknown`` while it is being found out.
    words
        What was found, and what to do about it.
    blocks
        Whether a training would end at once.
    """

    title: str
    answer: Answer
    words: str
    blocks: bool = False


@dataclass(frozen=True)
class StudyFacts:
    """What training finds in a study.

    Attributes
    ----------
    scans
        Cases that training may read.
    missing
        Cases whose image is gone.
    labelled
        Cases with labels to learn from.
    unfinished
        Those of them that nobody has marked as done.
    found
        Label value -> in how many of them it occurs.
    names
        Label value -> name, every label of the scheme.
    unreadable
        Sentence by case whose labels cannot be read.
    """

    scans: int = 0
    missing: tuple[str, ...] = ()
    labelled: tuple[str, ...] = ()
    unfinished: tuple[str, ...] = ()
    found: Mapping[int, int] = field(default_factory=dict)
    names: Mapping[int, str] = field(default_factory=dict)
    unreadable: Mapping[str, str] = field(default_factory=dict)


class LabelValues:
    """The label values in each case, read again only when a file has changed."""

    def __init__(self) -> None:
        self._known: dict[Path, tuple[tuple[float, ...], frozenset[int]]] = {}

    def of(self, study: Study, case: str) -> frozenset[int]:
        """Return the values above background that a case's labels hold.

        Raises
        ------
        GeminiError
            If they cannot be read.
        """
        path = study.labels_path(case)
        stamp = _stamp(path)
        known = self._known.get(path)
        if known is not None and known[0] == stamp:
            return known[1]
        if study.scheme.overlapping:
            masks = study.load_masks(case)
            present = [] if masks is None else [bool(mask.any()) for mask in masks]
            pairs = zip(study.scheme.values, present, strict=False)
            values = frozenset(value for value, there in pairs if there)
        else:
            labels = study.load_labels(case)
            data = np.zeros(0, np.uint8) if labels is None else labels.data
            values = frozenset(int(value) for value in np.unique(data)) - {0}
        self._known[path] = (stamp, values)
        return values


def _stamp(path: Path) -> tuple[float, ...]:
    files = [path] if path.is_file() else sorted(path.iterdir()) if path.is_dir() else []
    stats = [file.stat() for file in files]
    return tuple(number for stat in stats for number in (stat.st_mtime_ns, stat.st_size))


def study_facts(study: Study, values: LabelValues) -> StudyFacts:
    """Look at everything in a study that training will need; may take a while."""
    scans = [case for case in study.cases if case.role != "test"]
    missing = []
    for case in scans:
        try:
            study.image_path(case.id)
        except GeminiError:
            missing.append(case.id)
    labelled = study.cases_with("labelled", labels=True)
    found = dict.fromkeys(study.scheme.values, 0)
    unreadable = {}
    blank = set()
    for case in labelled:
        try:
            marked = values.of(study, case.id)
            if not marked and study.is_blank(case.id):
                blank.add(case.id)
            for value in marked & found.keys():
                found[value] += 1
        except (GeminiError, OSError) as error:
            unreadable[case.id] = str(error)
    labelled = [case for case in labelled if case.id not in blank]
    return StudyFacts(
        scans=len(scans),
        missing=tuple(missing),
        labelled=tuple(case.id for case in labelled),
        unfinished=tuple(case.id for case in labelled if case.status != "done"),
        found=found,
        names=dict(study.scheme.names),
        unreadable=unreadable,
    )


@dataclass(frozen=True)
class Engine:
    """What the engine's child said of itself.

    Attributes
    ----------
    devices
        Entries of :func:`napari_gemini.engine.device.list_devices`; None before it answered.
    error
        The sentence with which it failed, empty where it did not.
    """

    devices: list[dict[str, Any]] | None = None
    error: str = ""

    def device(self, spec: str) -> dict[str, Any] | None:
        """Return the device that a word means, as :func:`.select_device` chooses it."""
        devices = self.devices or []
        if spec in ("auto", "cuda"):
            cards = [d for d in devices if str(d["name"]).startswith("cuda")]
            if cards:
                return max(cards, key=lambda d: d.get("free") or 0)
            if spec == "cuda":
                return None
            return devices[0] if devices else None
        return next((d for d in devices if d["name"] == spec), None)


def fitted(settings: TrainSettings, study: Study) -> TrainSettings:
    """Return settings with what the study decides: dimension and classes."""
    scheme = study.scheme
    network = settings.network.model_copy(
        update={
            "dimension": study.dimension,
            "classes": scheme.classes,
            "overlapping": scheme.overlapping,
        }
    )
    return settings.model_copy(update={"network": network})


def needed_bytes(settings: TrainSettings, study: Study) -> int:
    """Return the memory that a training on a study needs, in bytes."""
    return estimate_training_bytes(fitted(settings, study), study.grid.shape)


def check_readiness(
    study: Study | None,
    facts: StudyFacts | None,
    engine: Engine,
    settings: TrainSettings,
    device: str,
    init: NetworkSettings | None = None,
) -> list[Check]:
    """Answer the five questions.

    Parameters
    ----------
    study
        The open one.
    facts
        Of the study; None while they are being read.
    engine
        What the child said.
    settings
        Of the training to come.
    device
        Where it is to run.
    init
        Layout of the starting model, None without one.

    Returns
    -------
    list of Check
        Labelled scans, scans, classes, engine, memory.
    """
    if study is None:
        closed = "Open or make a study in the Study dock."
        return [
            Check("Labelled scans", "no", closed, blocks=True),
            Check("Scans", "no", closed, blocks=True),
            Check("Classes", "no", closed, blocks=True),
            _engine_check(engine, device),
            Check("Memory", "unknown", "Known once a study is open."),
        ]
    reading = [Check(t, "unknown", "Looking ...") for t in ("Labelled scans", "Scans", "Classes")]
    about = reading if facts is None else [_labelled(facts), _scans(facts), _classes(facts)]
    return [*about, _engine_check(engine, device), _memory(study, engine, settings, device, init)]


def _labelled(facts: StudyFacts) -> Check:
    title, count = "Labelled scans", len(facts.labelled)
    if facts.unreadable:
        sentence = next(iter(facts.unreadable.values()))
        return Check(title, "no", sentence, blocks=True)
    if count == 0:
        words = f"None yet: label at least one scan, {WANTED_LABELLED} are advised."
        return Check(title, "no", words, blocks=True)
    parts = [f"{count} of {WANTED_LABELLED}" if count < WANTED_LABELLED else f"{count}"]
    if facts.unfinished:
        which = ", ".join(facts.unfinished[:3]) + (" ..." if len(facts.unfinished) > 3 else "")
        parts.append(f"not marked as done: {which}")
    if count < WANTED_LABELLED:
        parts.append(f"{WANTED_LABELLED - count} more would help")
    good = count >= WANTED_LABELLED and not facts.unfinished
    return Check(title, "yes" if good else "note", "; ".join(parts) + ".")


def _scans(facts: StudyFacts) -> Check:
    if facts.missing:
        which = ", ".join(facts.missing[:3]) + (" ..." if len(facts.missing) > 3 else "")
        count = len(facts.missing)
        gone = f"1 image is gone ({which})" if count == 1 else f"{count} images are gone ({which})"
        return Check("Scans", "no", f"{gone}: locate them in the Study dock.", blocks=True)
    if facts.scans < FEWEST_SCANS:
        words = f"{facts.scans} to train with, {FEWEST_SCANS} are the fewest: add scans."
        return Check("Scans", "no", words, blocks=True)
    free = facts.scans - len(facts.labelled)
    if free == 0:
        return Check("Scans", "note", f"{facts.scans}, all labelled: unlabelled ones help too.")
    return Check("Scans", "yes", f"{facts.scans}, of which {free} without labels.")


def _classes(facts: StudyFacts) -> Check:
    absent = [facts.names[value] for value, count in facts.found.items() if count == 0]
    if not facts.labelled:
        return Check("Classes", "no", "Nothing is labelled yet.")
    if absent:
        names = ", ".join(absent[:4]) + (" ..." if len(absent) > 4 else "")
        return Check(
            "Classes",
            "no",
            f"In no labelled scan: {names}. Label {'it' if len(absent) == 1 else 'them'} in one, "
            "or take the label out of the scheme.",
        )
    once = [facts.names[value] for value, count in facts.found.items() if count == 1]
    if once and len(facts.labelled) > 1:
        names = ", ".join(once[:4]) + (" ..." if len(once) > 4 else "")
        return Check(
            "Classes", "note", f"All {len(facts.found)} are there; in one scan only: {names}."
        )
    return Check("Classes", "yes", f"All {len(facts.found)} occur.")


def _engine_check(engine: Engine, spec: str) -> Check:
    if engine.error:
        return Check("Engine", "no", engine.error, blocks=True)
    if engine.devices is None:
        return Check("Engine", "unknown", "Starting ...")
    device = engine.device(spec)
    if device is None:
        words = f"There is no device {spec} here: choose another."
        return Check("Engine", "no", words, blocks=True)
    return Check("Engine", "yes", f"Runs on {describe_device(device)}.")


def describe_device(device: Mapping[str, Any]) -> str:
    """Return a device in words, with its free memory."""
    name = str(device["name"])
    what = str(device.get("description") or "")
    shown = f"{name} ({what})" if what and what != name else name
    free = device.get("free")
    return shown if free is None else f"{shown}, {format_bytes(free)} free"


def device_in_short(device: Mapping[str, Any]) -> str:
    """Return name and free memory of a device, short enough for a list in a dock."""
    free = device.get("free")
    name = str(device["name"])
    return name if free is None else f"{name}, {format_bytes(free)} free"


def _memory(
    study: Study,
    engine: Engine,
    settings: TrainSettings,
    spec: str,
    init: NetworkSettings | None,
) -> Check:
    if init is not None and init.dimension != study.dimension:
        words = f"The starting model is for {init.dimension}D scans: choose another."
        return Check("Memory", "no", words, blocks=True)
    need = needed_bytes(settings, study)
    words = f"About {format_bytes(need)} needed"
    device = engine.device(spec)
    free = None if device is None else device.get("free")
    if free is None:
        return Check("Memory", "unknown", f"{words}.")
    if need > _DOUBTFUL * free:
        return Check("Memory", "no", f"{words}, {format_bytes(free)} free: use a smaller setting.")
    if need > free:
        return Check("Memory", "note", f"{words}, {format_bytes(free)} free: it may not fit.")
    return Check("Memory", "yes", f"{words}, {format_bytes(free)} free.")


def smaller_settings(settings: TrainSettings, study: Study) -> tuple[TrainSettings, str] | None:
    """Return settings that need less memory and what was changed, None when nothing is left.

    What costs least in quality comes first: fewer pairs a step, a coarser field, a narrower
    network.
    """
    network = settings.network
    before = needed_bytes(settings, study)
    tries: list[tuple[TrainSettings, str]] = []
    if settings.pairs_per_step > 1 or settings.labelled_per_step > 1:
        changed = settings.model_copy(update={"pairs_per_step": 1, "labelled_per_step": 1})
        tries.append((changed, "one pair and one labelled scan a step"))
    if network.field_stride == 1:
        changed = _with_network(settings, field_stride=2)
        tries.append((changed, "a field at half the resolution"))
    if network.base_width > 4:
        width = max(4, network.base_width // 8 * 4)
        changed = _with_network(settings, base_width=width)
        tries.append((changed, f"a network of width {width} instead of {network.base_width}"))
    for changed, words in tries:
        need = needed_bytes(changed, study)
        if need < 0.95 * before:
            return (
                changed,
                f"{words} (about {format_bytes(need)} instead of {format_bytes(before)})",
            )
    return None


def _with_network(settings: TrainSettings, **changes: Any) -> TrainSettings:
    network = settings.network.model_copy(update=changes)
    return settings.model_copy(update={"network": network})
