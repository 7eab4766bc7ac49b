"""A run from files to files with the real engine: progress, failures, cancel."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from GeminiPropagateLib.errors import PropagateError
from GeminiPropagateLib.jobs import AtlasFiles, PropagateOptions, RunLayout, TargetFile
from GeminiPropagateLib.session import PropagationRun, RunUpdate

from tests.slicer_module.lib.helpers import environment, launcher, script, wait_until

QUICK = PropagateOptions(model="none", device="cpu", refine=2)
ENDLESS = PropagateOptions(model="none", device="cpu", refine=1_000_000)


def follow(
    run: PropagationRun, until: Callable[[RunUpdate], object] | None = None
) -> list[RunUpdate]:
    """Poll until the run has ended, or until something is so."""
    updates: list[RunUpdate] = []

    def ended() -> bool:
        updates.append(run.poll())
        return (
            bool(until(updates[-1]))
            if until
            else updates[-1].state in ("done", "failed") or (updates[-1].state == "cancelled")
        )

    wait_until(ended)
    return updates


def test_two_targets_and_two_atlases_run_in_one_child_that_loads_once(
    atlas: AtlasFiles, targets: list[TargetFile], cohort: Path, tmp_path: Path
) -> None:
    other = sorted((cohort / "images").iterdir())[3]
    second = AtlasFiles("second", "Second", other, cohort / "labels" / other.name)
    starts = tmp_path / "starts"
    python = launcher(tmp_path, before=f'echo x >> "{starts}"')
    run = PropagationRun(
        python, [atlas, second], targets, RunLayout(tmp_path / "run"), QUICK, environment()
    )
    run.start()
    updates = follow(run)
    last = updates[-1]
    assert last.state == "done"
    assert not last.error
    assert starts.read_text() == "x\n"
    assert not run.client.running
    for state in last.targets:
        assert state.status == "done"
        assert list(state.folders) == ["atlas", "second"]
        for folder in state.folders.values():
            assert {"labels.nii.gz", "field.h5", "report.json"} <= set(os.listdir(folder))
    fractions = [update.fraction for update in updates]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    assert any(0 < fraction < 0.25 for fraction in fractions)
    assert any(update.remaining for update in updates)
    # The first target is finished, and could be looked at, before the second.
    order = [state.file.key for update in updates for state in update.finished]
    assert order == [target.key for target in targets]
    assert any("Patient 0" in update.message for update in updates)

    # The same again takes what is up to date as it is.
    field = last.targets[0].folders["atlas"] / "field.h5"
    written = field.stat().st_mtime_ns
    again = PropagationRun(
        sys.executable, [atlas], targets[:1], RunLayout(tmp_path / "run"), QUICK, environment()
    )
    again.start()
    assert follow(again)[-1].targets[0].folders["atlas"] / "field.h5" == field
    assert field.stat().st_mtime_ns == written


def test_a_target_that_fails_does_not_stop_the_others(
    atlas: AtlasFiles, targets: list[TargetFile], tmp_path: Path
) -> None:
    broken = tmp_path / "broken.nii.gz"
    broken.write_bytes(b"nothing of a scan")
    files = [TargetFile("broken", "Broken", broken), targets[0]]
    run = PropagationRun(
        sys.executable, [atlas], files, RunLayout(tmp_path / "run"), QUICK, environment()
    )
    run.start()
    last = follow(run)[-1]
    assert last.state == "done"
    assert [state.status for state in last.targets] == ["failed", "done"]
    assert "broken" in last.targets[0].message
    assert "Traceback" not in last.targets[0].message


def test_a_run_of_which_nothing_works_fails_with_the_reason(
    atlas: AtlasFiles, targets: list[TargetFile], tmp_path: Path
) -> None:
    missing = AtlasFiles("a", "A", tmp_path / "gone.nii.gz", atlas.labels)
    run = PropagationRun(
        sys.executable, [missing], targets, RunLayout(tmp_path / "run"), QUICK, environment()
    )
    run.start()
    last = follow(run)[-1]
    assert last.state == "failed"
    assert "gone.nii.gz" in last.error


def test_an_unusable_device_is_said_in_the_words_of_the_panel(
    atlas: AtlasFiles, targets: list[TargetFile], tmp_path: Path
) -> None:
    options = PropagateOptions(model="none", device="cuda:77")
    run = PropagationRun(
        sys.executable, [atlas], targets, RunLayout(tmp_path / "run"), options, environment()
    )
    run.start()
    last = follow(run)[-1]
    assert last.state == "failed"
    assert "CUDA" in last.error
    assert "--" not in last.error


def test_cancel_ends_the_run_its_child_and_the_targets_that_wait(
    atlas: AtlasFiles, targets: list[TargetFile], tmp_path: Path
) -> None:
    run = PropagationRun(
        sys.executable, [atlas], targets, RunLayout(tmp_path / "run"), ENDLESS, environment()
    )
    run.start()
    follow(run, lambda update: update.fraction > 0)
    run.cancel()
    last = follow(run)[-1]
    assert last.state == "cancelled"
    assert [state.status for state in last.targets] == ["cancelled", "cancelled"]
    assert not run.client.running


def test_a_target_whose_engine_is_killed_fails_and_the_next_one_gets_a_new_engine(
    atlas: AtlasFiles, targets: list[TargetFile], tmp_path: Path
) -> None:
    run = PropagationRun(
        sys.executable, [atlas], targets, RunLayout(tmp_path / "run"), ENDLESS, environment()
    )
    run.start()
    follow(run, lambda update: update.fraction > 0)
    first = run.client.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    follow(run, lambda update: update.targets[1].fraction > 0)
    update = run.poll()
    assert update.targets[0].status == "failed"
    assert "memory ran out" in update.targets[0].message
    assert run.client.pid not in (None, first)
    run.close()
    assert run.poll().state == "cancelled"


def test_an_engine_that_never_comes_up_fails_the_run_once(
    atlas: AtlasFiles, targets: list[TargetFile], tmp_path: Path
) -> None:
    starts = tmp_path / "starts"
    dead = script(tmp_path / "dead", f'echo x >> "{starts}"\necho "no licence" >&2\nexit 3\n')
    run = PropagationRun(dead, [atlas], targets, RunLayout(tmp_path / "run"), QUICK)
    run.start()
    last = follow(run)[-1]
    assert last.state == "failed"
    assert "exit code 3: no licence" in last.error
    assert starts.read_text() == "x\n"


def test_an_interpreter_that_does_not_exist_is_refused_before_anything_runs(
    atlas: AtlasFiles, targets: list[TargetFile], tmp_path: Path
) -> None:
    run = PropagationRun(
        str(tmp_path / "nothing"), [atlas], targets, RunLayout(tmp_path / "run"), QUICK
    )
    with pytest.raises(PropagateError, match="cannot be started"):
        run.start()
