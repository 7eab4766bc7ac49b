"""Ctrl-C, a full disk and a read-only folder, with real processes: nothing stays half-written."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.helpers import everything_in

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals and limits")
COMMAND = [sys.executable, "-m", "napari_gemini.cli"]
#: Runs the command line with a limit on the size of files, as a full disk would act.
LIMITED = (
    "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000));"
    "from napari_gemini.cli import main; sys.exit(main(sys.argv[1:]))"
)


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}


def wait_for_module(process: subprocess.Popen[str], library: str) -> None:
    """Wait until a process has loaded a library (Linux; a moment elsewhere)."""
    maps = Path(f"/proc/{process.pid}/maps")
    until = time.monotonic() + 60
    while maps.exists() and library not in maps.read_text() and time.monotonic() < until:
        time.sleep(0.01)


def pair_words(scans: list[Path], out: Path, refine: int) -> list[str]:
    words = ["correspond", scans[0], scans[1], "--out", out, "--model", "none", "--device", "cpu"]
    return [*map(str, words), "--refine", str(refine)]


@pytest.mark.parametrize("heard", ["imports", "Computing on", "Refining the pair"])
def test_ctrl_c_at_any_moment(tmp_path: Path, scans: list[Path], heard: str) -> None:
    out = tmp_path / "deep" / "out"
    process = subprocess.Popen(
        [*COMMAND, *pair_words(scans, out, 100_000)],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    assert process.stderr is not None
    assert process.stdout is not None
    if heard == "imports":
        wait_for_module(process, "libtorch")
    else:
        for line in process.stderr:
            if heard in line:
                break
    process.send_signal(signal.SIGINT)
    said = process.stderr.read()
    assert process.stdout.read() == ""
    assert process.wait(timeout=120) == 130
    assert "Traceback" not in said
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_while_training_keeps_a_checkpoint(tmp_path: Path, cohort3d: Path) -> None:
    study = tmp_path / "s"
    make = ["study", "new", study, cohort3d / "images", "--labels", cohort3d / "labels"]
    words = [*COMMAND, *map(str, make), "--split", str(cohort3d / "split.json")]
    assert subprocess.run(words, env=environment(), capture_output=True).returncode == 0
    train = ["train", study, "--run", "r", "--device", "cpu", "--preset", "quick"]
    train += ["--base-width", 4, "--steps", 100_000]
    process = subprocess.Popen(
        [*COMMAND, *map(str, train)], stderr=subprocess.PIPE, text=True, env=environment()
    )
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("training"):
            break
    process.send_signal(signal.SIGINT)
    assert "Traceback" not in process.stderr.read()
    assert process.wait(timeout=120) == 130
    run = study / "runs" / "r"
    assert (run / "last.json").is_file()
    assert not [name for name in everything_in(run) if "writing-" in name or "tmp" in name]
    status = subprocess.run(
        [*COMMAND, "study", "status", str(study)], capture_output=True, text=True, env=environment()
    )
    assert "run r: stopped" in status.stdout


def test_a_full_disk(tmp_path: Path, scans: list[Path]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, *pair_words(scans, tmp_path / "a" / "out", 0)],
        capture_output=True,
        text=True,
        env=environment(),
    )
    assert done.returncode == 4
    assert "disk is full" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fills_up_keeps_the_former_result(tmp_path: Path, scans: list[Path]) -> None:
    out = tmp_path / "out"
    words = pair_words(scans, out, 0)
    assert (
        subprocess.run([*COMMAND, *words], env=environment(), capture_output=True).returncode == 0
    )
    before = everything_in(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, *words], capture_output=True, text=True, env=environment()
    )
    assert done.returncode == 4
    assert everything_in(tmp_path) == before


#: Gives up root's right to write where permissions forbid it, for good, and becomes the command.
UNPRIVILEGED = (
    "import ctypes, os, sys; [ctypes.CDLL(None).prctl(24, right, 0, 0, 0) for right in (1, 2)];"
    "os.execv(sys.executable, [sys.executable, '-m', 'napari_gemini.cli', *sys.argv[1:]])"
)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux capabilities")
@pytest.mark.parametrize("command", ["correspond", "study", "evaluate", "propagate"])
def test_a_read_only_folder(
    tmp_path: Path, scans: list[Path], cohort3d: Path, command: str
) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    kept.chmod(0o555)
    labels = cohort3d / "labels"
    atlas = ["--atlas", scans[0], "--labels", labels / scans[0].name]
    words = {
        "correspond": pair_words(scans, kept / "out", 0),
        "study": ["study", "new", kept / "study", *scans[:2]],
        "evaluate": ["evaluate", labels, labels, "--out", kept / "report.json"],
        "propagate": ["propagate", *atlas, scans[1], "--out", kept / "out", "--model", "none"],
    }[command]
    done = subprocess.run(
        [sys.executable, "-c", UNPRIVILEGED, *map(str, words)],
        capture_output=True,
        text=True,
        env=environment(),
    )
    assert done.returncode == 2, done.stderr
    assert "read-only" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(kept.iterdir()) == []
