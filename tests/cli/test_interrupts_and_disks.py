"""Ctrl-C, a full disk and a read-only folder, with real processes: nothing stays half-written."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
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


def pair_words(scans: list[Path], out: Path, refine: int) -> list[str]:
    words = ["correspond", scans[0], scans[1], "--out", out, "--model", "none", "--device", "cpu"]
    return [*map(str, words), "--refine", str(refine)]


@pytest.mark.parametrize("heard", ["", "Computing on", "Refining the pair"])
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
    if heard:
        for line in process.stderr:
            if heard in line:
                break
    else:
        time.sleep(1.0)  # in the middle of the imports
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


@pytest.fixture
def read_only() -> Iterator[Path]:
    """A folder that the user ``nobody`` may see and not change."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "kept").mkdir(mode=0o555)
        yield folder


def test_a_read_only_folder(read_only: Path, scans: list[Path], cohort3d: Path) -> None:
    """Run as root the test becomes another user, whom permissions bind."""
    copies = []
    for scan in scans[:2]:
        copies.append(read_only / scan.name)
        copies[-1].write_bytes(scan.read_bytes())
        copies[-1].chmod(0o644)
    before = everything_in(read_only)
    user = {"user": 65534, "group": 65534} if os.geteuid() == 0 else {}
    target = read_only / "kept"
    commands = [
        pair_words(copies, target / "out", 0),
        ["study", "new", str(target / "study"), *map(str, copies)],
    ]
    for words in commands:
        done = subprocess.run(
            [*COMMAND, *words],
            capture_output=True,
            text=True,
            env={**environment(), "HOME": str(read_only)},
            cwd=Path(__file__).parents[2],
            **user,
        )
        if "ModuleNotFoundError" in done.stderr or done.returncode == 126:
            pytest.skip("another user cannot start this Python")
        assert done.returncode == 2, done.stderr
        assert "read-only" in done.stderr
        assert everything_in(read_only) == before
