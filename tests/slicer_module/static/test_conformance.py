"""The module against the names that Slicer 5.10 and 5.12 have, from a manifest of its sources."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
MODULE = ROOT / "slicer_module"
CHECKER = ROOT.parent / "shared" / "tools" / "check_slicer_module.py"
MANIFEST = ROOT.parent / "shared" / "slicer_api.json.gz"

pytestmark = pytest.mark.skipif(
    not (CHECKER.is_file() and MANIFEST.is_file()),
    reason="the manifest of Slicer's names is not beside this checkout (../shared)",
)


def test_every_name_exists_in_slicer() -> None:
    tags = ("v5.10.0", "v5.12.3")
    command = [sys.executable, str(CHECKER), str(MANIFEST), str(MODULE), *tags]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 0, done.stdout + done.stderr
    for tag in tags:
        assert f"@ {tag}: 0 findings" in done.stdout
