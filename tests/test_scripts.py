"""The shell scripts around the package, run for real with stand-ins for what changes a machine."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SH = shutil.which("sh")

pytestmark = pytest.mark.skipif(sys.platform == "win32" or SH is None, reason="shell scripts")


def program(folder: Path, name: str, lines: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{lines}\n")
    path.chmod(0o755)


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A folder of programs that is all a script sees: the usual tools and nothing of apt."""
    for name in ("sh", "bash", "env", "grep", "sed", "id", "dirname", "cat"):
        found = shutil.which(name)
        assert found is not None
        (tmp_path / name).symlink_to(found)
    return tmp_path


def run(machine: Path, *command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(part) for part in command],
        env={"PATH": str(machine)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
    )


INSTALL = ROOT / "scripts/install-system.sh"


def test_other_systems_are_left_alone(machine: Path) -> None:
    answer = run(machine, "sh", INSTALL)
    assert (answer.returncode, answer.stdout) == (0, "")


def test_nothing_happens_when_all_is_there(machine: Path) -> None:
    program(machine, "apt-get", "echo CALLED")
    program(machine, "dpkg-query", "echo install ok installed $4")
    answer = run(machine, "sh", INSTALL)
    assert (answer.returncode, answer.stdout) == (0, "")


def test_without_rights_the_exact_line_is_printed(machine: Path) -> None:
    (machine / "id").unlink()
    program(machine, "id", "echo 1000")
    program(machine, "apt-get", "echo CALLED")
    program(machine, "dpkg-query", "exit 1")
    answer = run(machine, "sh", INSTALL)
    assert answer.returncode == 0
    assert "CALLED" not in answer.stdout
    line = answer.stdout.splitlines()[-1].strip()
    assert line.startswith("sudo apt-get update && sudo apt-get install --yes")
    assert {"libegl1", "libgl1", "xvfb", "fontconfig", "libxkbcommon-x11-0"} <= set(line.split())


def test_only_what_is_missing_is_installed_as_root(machine: Path) -> None:
    (machine / "id").unlink()
    program(machine, "id", "echo 0")
    program(machine, "apt-get", f'echo "$@" >> {machine}/calls')
    program(machine, "dpkg-query", '[ "$4" = xvfb ] && exit 1; echo install ok installed')
    assert run(machine, "sh", INSTALL).returncode == 0
    calls = (machine / "calls").read_text().splitlines()
    assert calls == ["update -qq", "install --yes --no-install-recommends xvfb -qq"]


def test_a_failing_install_says_so_and_goes_on(machine: Path) -> None:
    (machine / "id").unlink()
    program(machine, "id", "echo 0")
    program(machine, "apt-get", "exit 100")
    program(machine, "dpkg-query", "exit 1")
    answer = run(machine, "sh", INSTALL)
    assert answer.returncode == 0
    assert "That failed" in answer.stdout


@pytest.mark.parametrize("code", [0, 2])
def test_ci_ends_with_the_summary_and_the_exit_code(machine: Path, code: int) -> None:
    summary = "=== 3 failed, 4 passed in 1.00s ==="
    failure = 'echo "make: *** [Makefile:64: test] Error 1" >&2' if code else ":"
    program(machine, "make", f'echo "{summary}"\n{failure}\nexit {code}')
    answer = run(machine, "bash", ROOT / ".ci/run")
    assert answer.returncode == code
    assert answer.stdout.splitlines()[-1] == summary
