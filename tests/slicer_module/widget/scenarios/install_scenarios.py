"""Installing from the panel: nothing without a yes, then into an environment of its own."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.slicer_module.install.wheels import make_wheel
from tests.slicer_module.standin import boot
from tests.slicer_module.standin.properties import use_properties
from tests.slicer_module.widget.fixtures import Bench

use_properties(__name__)

#: An engine whose doctor is content, so that the whole way can be gone without a network.
DOCTOR = """
import json
check = {"name": "Python", "ok": True, "needed": True, "detail": "fine", "command": None}
print(json.dumps({"ok": True, "checks": [check]}))
"""


def open_dialog(bench: Bench, tmp_path: Path) -> object:
    wheel = make_wheel(tmp_path, "napari_gemini", "9.9", {"cli.py": DOCTOR})
    bench.ui.installButton.click()
    dialog = bench.panel.installation.dialog
    dialog.package.currentPath = str(wheel)
    dialog.folder.currentPath = str(tmp_path / "environment")
    dialog.base.currentPath = sys.executable
    dialog.pip_options.text = "--no-index"
    return dialog


def test_nothing_is_done_without_a_yes(bench: Bench, tmp_path: Path) -> None:
    boot.answers.confirm = False
    dialog = open_dialog(bench, tmp_path)
    dialog._accept(bench.panel.installation._begin)
    (question,) = boot.answers.questions
    assert "environment of its own" in question
    assert not bench.panel.installation.running
    assert not (tmp_path / "environment").exists()


def test_an_environment_of_its_own(bench: Bench, tmp_path: Path) -> None:
    dialog = open_dialog(bench, tmp_path)
    dialog._accept(bench.panel.installation._begin)
    bench.finish(120)
    assert bench.banner == ""
    assert "Making the environment" in bench.log
    assert bench.ui.pythonStatusLabel.text.startswith("Ready")
    assert bench.ui.externalPythonButton.checked
    assert bench.ui.externalPythonEdit.currentPath.startswith(str(tmp_path / "environment"))


def test_a_failing_installation_says_so(bench: Bench, tmp_path: Path) -> None:
    dialog = open_dialog(bench, tmp_path)
    dialog.base.currentPath = "/bin/false"
    dialog._accept(bench.panel.installation._begin)
    bench.finish(30)
    assert bench.banner == "Making the environment failed (exit code 1); the log says why."


def test_cancelling_an_installation(bench: Bench, tmp_path: Path) -> None:
    slow = tmp_path / "slow"
    slow.write_text("#!/bin/sh\nsleep 60\n")
    slow.chmod(0o755)
    dialog = open_dialog(bench, tmp_path)
    dialog.base.currentPath = str(slow)
    dialog._accept(bench.panel.installation._begin)
    bench.wait(lambda: bench.panel.installation._run._process, "a process", 10)
    bench.ui.installButton.click()
    bench.finish(10)
    assert "cancelled" in bench.banner


def test_slicers_own_python_needs_the_extension(
    bench: Bench, tmp_path: Path, monkeypatch: object
) -> None:
    launcher = tmp_path / "PythonSlicer"
    launcher.write_text("#!/bin/sh\n")
    launcher.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    dialog = open_dialog(bench, tmp_path)
    dialog.into_slicer.checked = True
    dialog._accept(bench.panel.installation._begin)
    assert "extension PyTorch" in bench.banner
    assert boot.answers.questions == []
