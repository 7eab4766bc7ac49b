"""The module's widget on stand-ins of Slicer's window, with real child processes.

Each file of scenarios runs in a process of its own: PySide6 here and PyQt6 in the tests of the
napari docks do not bear each other.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[2]
FIXTURES = "tests.slicer_module.widget.fixtures"
# Seconds; a file needs about one minute on two idle cores, and a busy machine ten times as long.
_TIMEOUT = 1180
SCENARIOS = sorted((HERE / "scenarios").glob("*.py"))


@pytest.mark.skipif(sys.platform != "linux", reason="the scenarios look at processes in /proc")
@pytest.mark.timeout(_TIMEOUT + 20)
@pytest.mark.parametrize("scenarios", SCENARIOS, ids=lambda path: path.stem)
def test_widget_on_stand_ins(scenarios: Path) -> None:
    for name in ("slicer", "PySide6"):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is missing: install the extra dev (slicer-core, PySide6)")
    environment = {
        **os.environ,
        "QT_QPA_PLATFORM": "offscreen",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(REPOSITORY),
        # Plugins of pytest that bring another Qt along stay out.
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    }
    command = [sys.executable, "-m", "pytest", "-q", "--durations=5", "-p", FIXTURES]
    options = [
        "-o",
        "addopts=--import-mode=importlib",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:warnings",
    ]
    done = subprocess.run(
        [*command, *options, str(scenarios)],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        timeout=_TIMEOUT,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout, done.stdout
