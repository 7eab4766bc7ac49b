"""Batches here and on a real dask cluster of two worker processes."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from napari_gemini.engine.batch import BatchTarget, do_target, run_batch
from napari_gemini.errors import EngineError, GeminiError
from napari_gemini.progress import Cancelled, SilentReporter
from tests.engine.helpers import Recorder
from tests.engine.work import double


def make_targets(folder: Path, count: int = 4, **parameters: Any) -> list[BatchTarget]:
    folder.mkdir(parents=True, exist_ok=True)
    out = folder / "out"
    out.mkdir(exist_ok=True)
    targets = []
    for index in range(count):
        image = folder / f"{index}.txt"
        if not image.exists():
            image.write_text(str(index))
        targets.append(BatchTarget(f"t{index}", {"image": image}, [out / f"{index}"], parameters))
    return targets


def done_keys(folder: Path) -> list[str]:
    return (folder / "out" / "done.txt").read_text().split()


def results(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in (folder / "out").glob("[0-9]*")}


def test_a_rerun_does_only_what_is_missing_or_out_of_date(tmp_path: Path) -> None:
    targets = make_targets(tmp_path)
    out = tmp_path / "out"
    recorder = Recorder()
    summary = run_batch(targets, double, out, recorder)
    assert summary.error() is None
    assert summary.keys("done") == ["t0", "t1", "t2", "t3"]
    assert results(tmp_path) == {"0": "0", "1": "2", "2": "4", "3": "6"}
    assert [event.payload["key"] for event in recorder.named("notice")] == summary.keys("done")
    last = recorder.named("progress")[-1]
    assert last.done == last.total

    again = run_batch(targets, double, out, SilentReporter())
    assert again.keys("skipped") == summary.keys("done")
    assert again.outcomes["t2"].values == {"number": 4}
    assert len(done_keys(tmp_path)) == 4

    (tmp_path / "1.txt").write_text("10")  # another input
    (out / "2").unlink()  # a lost result
    (out / "3").write_text("tampered")
    (out / ".records" / "t0.json").write_text("{")
    assert run_batch(targets, double, out, SilentReporter()).keys("skipped") == []
    assert results(tmp_path) == {"0": "0", "1": "20", "2": "4", "3": "6"}

    changed = make_targets(tmp_path, factor=2)
    assert run_batch(changed, double, out, SilentReporter()).keys("skipped") == []
    assert results(tmp_path)["3"] == "12"


def test_one_failure_does_not_stop_the_rest(tmp_path: Path) -> None:
    targets = make_targets(tmp_path)
    (tmp_path / "1.txt").write_text("-1")
    (tmp_path / "2.txt").unlink()
    recorder = Recorder()
    summary = run_batch(targets, double, tmp_path / "out", recorder)
    assert summary.keys("failed") == ["t1", "t2"]
    assert set(results(tmp_path)) == {"0", "3"}
    error = summary.error()
    assert isinstance(error, GeminiError)
    assert str(error).startswith("2 of 4 targets failed, t1 because: 1.txt is negative; give")
    assert [event.level for event in recorder.named("log")] == ["error", "error"]
    report = summary.as_dict()
    assert (report["done"], report["skipped"], report["failed"]) == (2, 0, 2)
    assert "cannot be read" in report["targets"]["t2"]["message"]
    (tmp_path / "1.txt").write_text("1")
    (tmp_path / "2.txt").write_text("2")
    summary = run_batch(targets, double, tmp_path / "out", SilentReporter())
    assert summary.keys("skipped") == ["t0", "t3"]
    assert summary.error() is None


def test_a_failed_redo_leaves_no_valid_record(tmp_path: Path) -> None:
    (target,) = make_targets(tmp_path, 1)
    records = tmp_path / "out" / ".records"
    records.mkdir()
    assert do_target(target, double, records, SilentReporter()).status == "done"
    target.inputs["image"].write_text("-5")
    assert do_target(target, double, records, SilentReporter()).status == "failed"
    assert not (records / "t0.json").exists()


def test_cancelling_keeps_what_is_finished(tmp_path: Path) -> None:
    recorder = Recorder()
    targets = make_targets(tmp_path, seconds=0.1)

    def work(target: BatchTarget, reporter: Any) -> dict[str, Any]:
        if target.key == "t2":
            recorder.stop()
        return double(target, reporter)

    with pytest.raises(Cancelled):
        run_batch(targets, work, tmp_path / "out", recorder)
    assert set(results(tmp_path)) == {"0", "1"}


def test_bad_batches(tmp_path: Path) -> None:
    targets = make_targets(tmp_path, 1)
    with pytest.raises(ValueError, match="same key"):
        run_batch(targets * 2, double, tmp_path / "out", SilentReporter())
    (tmp_path / "file").write_text("x")
    with pytest.raises(GeminiError):
        run_batch(targets, double, tmp_path / "file", SilentReporter())
    with pytest.raises(EngineError, match="does not answer"):
        run_batch(targets, double, tmp_path / "out", SilentReporter(), "nonsense://x")


def test_missing_dask_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(EngineError, match=r"napari-gemini\[cluster\]"):
        run_batch(make_targets(tmp_path), double, tmp_path / "out", SilentReporter(), "tcp://x:1")


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    ) as local:
        yield local.scheduler_address


def test_a_cluster_gives_what_one_process_gives(cluster: str, tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    serial = run_batch(make_targets(here, 6), double, here / "out", SilentReporter())
    targets = make_targets(there, 6)
    (there / "1.txt").write_text("-1")
    recorder = Recorder()
    summary = run_batch(targets, double, there / "out", recorder, cluster)
    assert summary.keys("failed") == ["t1"]
    assert list(summary.outcomes) == list(serial.outcomes)
    assert {**results(there), "1": "2"} == results(here)
    assert len(recorder.named("notice")) == 6
    (there / "1.txt").write_text("1")
    summary = run_batch(targets, double, there / "out", SilentReporter(), cluster)
    assert summary.keys("done") == ["t1"]
    assert len(summary.keys("skipped")) == 5
    assert results(there) == results(here)


def test_a_dead_worker_costs_a_retry(cluster: str, tmp_path: Path) -> None:
    targets = make_targets(tmp_path)
    (tmp_path / "out" / "die-once").touch()
    summary = run_batch(targets, double, tmp_path / "out", SilentReporter(), cluster)
    assert summary.error() is None
    assert results(tmp_path)["3"] == "6"
    assert done_keys(tmp_path).count("t3") == 2


def test_cancelling_reaches_the_workers(cluster: str, tmp_path: Path) -> None:
    recorder = Recorder()
    targets = make_targets(tmp_path, seconds=60.0)
    threading.Timer(1.0, recorder.stop).start()
    begin = time.monotonic()
    with pytest.raises(Cancelled):
        run_batch(targets, double, tmp_path / "out", recorder, cluster)
    assert time.monotonic() - begin < 30
    assert results(tmp_path) == {}
    assert list((tmp_path / "out" / ".records").iterdir()) == []


def test_a_target_that_kills_its_workers_fails_alone(cluster: str, tmp_path: Path) -> None:
    targets = make_targets(tmp_path, 2)
    (tmp_path / "out" / "always-die-t1").touch()
    summary = run_batch(targets, double, tmp_path / "out", SilentReporter(), cluster)
    assert summary.keys("failed") == ["t1"]
    assert "worker died again and again" in summary.outcomes["t1"].message
    assert results(tmp_path) == {"0": "0"}
