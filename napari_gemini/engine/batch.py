"""Many targets of one job: one after the other here, or spread over the workers of a dask cluster.

A target is a file-to-file piece of work. What it was made from is recorded beside the results, so
running a batch again does only what is missing or out of date; a target that fails does not stop
the rest. Work publishes its own outputs atomically, so a killed worker leaves no half results.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from napari_gemini import __version__
from napari_gemini.engine.failures import explain
from napari_gemini.engine.plain import to_plain
from napari_gemini.engine.provenance import sha256_of
from napari_gemini.engine.reporting import PartReporter
from napari_gemini.errors import EngineError, GeminiError
from napari_gemini.progress import Cancelled, Reporter
from napari_gemini.volumes.atomic import explain_write_error, write_json_atomic

RECORDS = ".records"
RECORD_SCHEMA = 1

Status = Literal["done", "skipped", "failed", "cancelled"]


@dataclass(frozen=True)
class BatchTarget:
    """One piece of work.

    Attributes
    ----------
    key
        Name that is unique in the batch and may stand in a file name.
    inputs
        Files or folders whose content decides the result, the model's weights among them.
    outputs
        Files or folders that exist when it is finished.
    parameters
        Whatever else decides the result, JSON-ready.
    """

    key: str
    inputs: Mapping[str, Path]
    outputs: Sequence[Path]
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """How one target ended; `values` is what the work returned, now or in an earlier run."""

    key: str
    status: Status
    values: dict[str, Any] = field(default_factory=dict)
    message: str = ""
    seconds: float = 0.0


#: Does one target: writes its outputs atomically and returns a JSON-ready report. It has to be a
#: function of a module (or a functools.partial of one), so that it can travel to a worker.
Work = Callable[[BatchTarget, Reporter], dict[str, Any]]


@dataclass
class BatchSummary:
    """How a whole batch ended, by target key in the order of the targets."""

    outcomes: dict[str, Outcome]

    def keys(self, status: Status) -> list[str]:
        """Return the targets that ended so."""
        return [key for key, outcome in self.outcomes.items() if outcome.status == status]

    def error(self) -> GeminiError | None:
        """Return one sentence about the targets that failed, None when none did."""
        failed = self.keys("failed")
        if not failed:
            return None
        first = self.outcomes[failed[0]]
        rest = "" if len(failed) == len(self.outcomes) else " The others are finished."
        return EngineError(
            f"{len(failed)} of {len(self.outcomes)} targets failed, {first.key} because: "
            f"{first.message}{rest} Run the same command again for what is missing."
        )

    def as_dict(self) -> dict[str, Any]:
        """Return counts and outcomes for a report."""
        states: tuple[Status, ...] = ("done", "skipped", "failed")
        return {
            **{state: len(self.keys(state)) for state in states},
            "targets": {
                key: {"status": outcome.status, "message": outcome.message, **outcome.values}
                for key, outcome in self.outcomes.items()
            },
        }


def run_batch(
    targets: Sequence[BatchTarget],
    work: Work,
    out: Path,
    reporter: Reporter,
    scheduler: str | None = None,
) -> BatchSummary:
    """Do every target that is not finished yet.

    Parameters
    ----------
    targets
        What to do; keys have to differ.
    work
        Does one of them.
    out
        Folder of the results; records of finished targets are kept in its ``.records``.
    reporter
        Hears of each target as ``target_done`` (key, status, message, values).
    scheduler
        Address of a dask scheduler whose workers see the same files; none works here.

    Raises
    ------
    Cancelled
        If the reporter asked to stop; finished targets stay.
    EngineError
        If the scheduler cannot be reached.
    ValueError
        If two targets have one key.
    """
    if len({target.key for target in targets}) != len(targets):
        raise ValueError("two targets have the same key")
    records = out / RECORDS
    try:
        records.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise explain_write_error(error, records) from error
    if scheduler is None:
        stream = _run_here(targets, work, records, reporter)
    else:
        from napari_gemini.engine.cluster import run_on_cluster

        stream = run_on_cluster(targets, work, records, reporter, scheduler)
    outcomes: dict[str, Outcome] = {}
    for outcome in stream:
        outcomes[outcome.key] = outcome
        _announce(outcome, len(outcomes), len(targets), reporter)
    return BatchSummary({target.key: outcomes[target.key] for target in targets})


def _announce(outcome: Outcome, done: int, total: int, reporter: Reporter) -> None:
    if outcome.status == "failed":
        reporter.log(f"{outcome.key} failed: {outcome.message}", "error")
    elif outcome.status == "skipped":
        reporter.log(f"{outcome.key} is up to date", "info")
    reporter.event(
        "target_done",
        key=outcome.key,
        status=outcome.status,
        message=outcome.message,
        values=outcome.values,
    )
    scale = PartReporter.RESOLUTION
    reporter.progress(done * scale, total * scale, f"{outcome.key}: {outcome.status}")


def _run_here(
    targets: Sequence[BatchTarget], work: Work, records: Path, reporter: Reporter
) -> Iterator[Outcome]:
    for index, target in enumerate(targets):
        part = PartReporter(reporter, index, len(targets), f"{target.key}: ")
        outcome = do_target(target, work, records, part)
        if outcome.status == "cancelled":
            raise Cancelled
        yield outcome


def do_target(target: BatchTarget, work: Work, records: Path, reporter: Reporter) -> Outcome:
    """Do one target unless its record says that it is up to date; never raises for its failure."""
    start = time.monotonic()
    try:
        if reporter.cancelled():
            raise Cancelled
        digest = target_digest(target)
        record_path = records / f"{target.key}.json"
        known = _valid_record(record_path, target, digest)
        if known is not None:
            return Outcome(target.key, "skipped", known)
        # From here to the new record nobody may take the old one for true.
        record_path.unlink(missing_ok=True)
        values = dict(to_plain(work(target, reporter) or {}))
        _write_record(record_path, target, digest, values)
    except Cancelled:
        return Outcome(target.key, "cancelled")
    except Exception as error:
        seconds = time.monotonic() - start
        return Outcome(target.key, "failed", {}, str(explain(error)), seconds)
    return Outcome(target.key, "done", values, "", time.monotonic() - start)


def target_digest(target: BatchTarget) -> str:
    """Return the sha256 of everything that decides a target's result."""
    facts = {
        "version": __version__,
        "inputs": {name: _input_hash(path) for name, path in sorted(target.inputs.items())},
        "parameters": to_plain(target.parameters),
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _input_hash(path: Path) -> str:
    if path.is_dir():
        return sha256_of(path)
    try:
        status = path.stat()
    except OSError:
        return sha256_of(path)  # raises the sentence for it
    return _file_hash(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=256)
def _file_hash(path: Path, size: int, modified: int) -> str:
    # The atlas and the weights are the same for every target: read once while they do not change.
    return sha256_of(path)


def _valid_record(path: Path, target: BatchTarget, digest: str) -> dict[str, Any] | None:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if record["schema_version"] != RECORD_SCHEMA or record["digest"] != digest:
            return None
        if record["outputs"] != _output_hashes(target, path.parent.parent):
            return None
        return dict(record["values"])
    except (OSError, ValueError, KeyError, TypeError, GeminiError):
        return None  # no record, a damaged one or a missing output: do it again


def _output_hashes(target: BatchTarget, out: Path) -> dict[str, str]:
    return {
        Path(os.path.relpath(output, out)).as_posix(): sha256_of(output)
        for output in target.outputs
    }


def _write_record(path: Path, target: BatchTarget, digest: str, values: dict[str, Any]) -> None:
    record = {
        "schema_version": RECORD_SCHEMA,
        "digest": digest,
        "outputs": _output_hashes(target, path.parent.parent),
        "values": values,
    }
    write_json_atomic(path, record)
