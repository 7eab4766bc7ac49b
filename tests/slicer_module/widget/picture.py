"""Draw the panel after a run on phantom scans.

``python -m tests.slicer_module.widget.picture OUT.png``

Drawn with the stand-ins of Slicer's widgets, so it shows the panel's content, not Slicer's look.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from PySide6.QtWidgets import QApplication

from napari_gemini.phantom.cohort import make_cohort
from napari_gemini.phantom.files import write_cohort
from tests.slicer_module.standin import boot
from tests.slicer_module.standin.properties import use_properties
from tests.slicer_module.widget.fixtures import Bench, Scans

use_properties(__name__)


def draw(out: Path) -> None:
    """Run over three phantom scans and save a picture of the panel."""
    with tempfile.TemporaryDirectory() as folder:
        module = boot.boot(Path(folder))
        cohort = make_cohort(5, 3, (32, 32, 32), spacing=2.5, noise=0.02)
        files = write_cohort(Path(folder) / "cohort", cohort, labelled=1, test=1)
        images = sorted((files / "images").iterdir())
        bench = Bench(module, Scans(images, [files / "labels" / path.name for path in images]))
        bench.choose(3, gridSpacing=2.5, refine=30)
        bench.ui.externalPythonEdit.currentPath = "gemini/bin/python"
        bench.ui.pythonStatusLabel.text = "Ready."
        bench.panel.compute.interpreter = lambda: module.Interpreter(sys.executable)
        bench.apply()
        bench.finish(280)
        bench.ui.resultsTable.selectRow(2)
        bench.ui.resultsTable.cellClicked.emit(2, 0)
        bench.ui.deformationGridButton.click()
        bench.ui.jacobianButton.click()
        parent = bench.widget.parent
        parent.resize(560, 1180)
        parent.show()
        QApplication.processEvents()
        parent.grab().save(str(out))
        parent.hide()
        bench.close()


if __name__ == "__main__":
    draw(Path(sys.argv[1]))
