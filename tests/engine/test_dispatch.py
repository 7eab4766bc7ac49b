"""From job to task to result; errors to sentences and back."""

from __future__ import annotations

import errno
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import tests.engine.fake_tasks as fakes
from napari_gemini.engine import dispatch
from napari_gemini.engine.arrays import exchange
from napari_gemini.engine.dispatch import TASKS, find_task, run_job
from napari_gemini.engine.events import ErrorEvent
from napari_gemini.engine.failures import error_event, error_from_event, explain
from napari_gemini.engine.jobs import LoadVolumeJob, PingJob, job_kinds
from napari_gemini.engine.provenance import collect_provenance, cpu_name, sha256_of
from napari_gemini.errors import DeviceError, EngineError, GeminiError, InputError
from napari_gemini.progress import Cancelled, SilentReporter
from napari_gemini.settings import TrainSettings


def test_every_job_has_a_task() -> None:
    assert set(job_kinds()) == set(TASKS)


def test_ping_lists_devices() -> None:
    values = run_job(PingJob(echo="x", devices=True), SilentReporter())
    assert values["echo"] == "x"
    assert values["devices"][-1]["name"] == "cpu"


@pytest.mark.parametrize("labels", [False, True])
def test_a_volume_is_loaded(tmp_path: Path, labels: bool) -> None:
    pixels = np.arange(12, dtype=np.uint8).reshape(3, 4)
    Image.fromarray(pixels).save(tmp_path / "x.png")
    values = run_job(LoadVolumeJob(path=tmp_path / "x.png", labels=labels), SilentReporter())
    array = exchange().open(values["array"])
    np.testing.assert_array_equal(array, pixels.T)
    assert np.shape(values["affine"]) == (4, 4)
    assert values["spacing_known"] is False
    with pytest.raises(InputError):
        run_job(LoadVolumeJob(path=tmp_path / "missing.png"), SilentReporter())


def test_results_are_plain() -> None:
    assert run_job(fakes.CrashJob(how="nan"), SilentReporter()) == {"bad": None, "path": "x"}


def test_full_memory_gets_the_jobs_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fakes.CrashJob, "memory_advice", "count less")
    for how in ("torch-oom", "numpy-oom"):
        with pytest.raises(DeviceError, match=r"to make it fit, count less\."):
            run_job(fakes.CrashJob(how=how), SilentReporter())  # type: ignore[arg-type]
    with pytest.raises(RuntimeError, match="something"):
        run_job(fakes.CrashJob(how="raise"), SilentReporter())


def test_missing_tasks_and_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(EngineError, match="no task for 'dance'"):
        find_task("dance")
    monkeypatch.setitem(dispatch.TASKS, "ping", "no_such_library:run")
    with pytest.raises(EngineError, match=r"no_such_library.*pip install 'napari-gemini\[engine"):
        run_job(PingJob(), SilentReporter())


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (InputError("Bad."), InputError, r"^Bad\."),
        (MemoryError(), DeviceError, "memory is full"),
        (OSError(errno.ENOSPC, "No space", "/x/y"), EngineError, r"disk is full \(/x/y\)"),
        (OSError(errno.EROFS, "Read-only"), InputError, "change its permissions"),
        (PermissionError(errno.EACCES, "no", "/x"), InputError, r"\(/x\), because this user"),
        (FileNotFoundError(errno.ENOENT, "no", "/x"), InputError, r"missing \(/x\)"),
        (OSError(errno.EIO, "I/O error"), EngineError, "I/O error"),
        (ValueError("a\n b"), EngineError, r"unexpectedly \(ValueError: a b\)"),
        (ZeroDivisionError(), EngineError, r"unexpectedly \(ZeroDivisionError\)"),
    ],
)
def test_any_error_is_one_sentence_and_travels(
    error: Exception, kind: type[GeminiError], words: str
) -> None:
    shown = explain(error)
    assert type(shown) is kind
    assert "\n" not in str(shown)
    event = error_event(error, "7")
    again = error_from_event(event)
    assert type(again) is kind
    with pytest.raises(kind, match=words):
        raise again
    assert (event.job, event.exit_code) == ("7", kind.exit_code)
    assert type(error).__name__ in again.__notes__[0]


def test_an_unknown_kind_of_error_is_the_engines() -> None:
    for kind in ("NewError", "annotations", "Cancelled"):
        error = error_from_event(ErrorEvent(message="x", kind=kind))
        assert type(error) is EngineError
    assert not isinstance(Cancelled(), GeminiError)


# -- provenance ------------------------------------------------------------------------------


def test_provenance_is_complete_and_plain(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    series = tmp_path / "series"
    series.mkdir()
    (series / "1").write_bytes(b"x")
    facts = collect_provenance({"a": tmp_path / "a", "s": series}, TrainSettings(steps=5))
    assert facts["data"]["a"]["sha256"] == (
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )
    assert facts["settings"]["steps"] == 5
    assert {"napari-gemini", "python", "numpy", "torch"} <= set(facts["versions"])
    assert facts["host"]["cpu"]
    assert facts["command"] == sys.argv
    before = facts["data"]["s"]["sha256"]
    (series / "1").rename(series / "2")
    assert sha256_of(series) != before
    with pytest.raises(InputError, match="cannot be read"):
        sha256_of(tmp_path / "missing")


def test_the_processor_has_a_name_everywhere(tmp_path: Path) -> None:
    assert cpu_name()
    assert cpu_name(tmp_path / "missing")
    (tmp_path / "info").write_text("model name\t: Fast One\n")
    assert cpu_name(tmp_path / "info") == "Fast One"
