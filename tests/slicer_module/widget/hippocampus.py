"""Run the hippocampus demo through the module's Logic, on the stand-ins of Slicer's classes.

``python -m tests.slicer_module.widget.hippocampus DATA [--model none] [--pictures FOLDER]``
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from tests.slicer_module.standin import boot
from tests.slicer_module.standin.properties import use_properties

use_properties(__name__)
sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "slicer_module" / "Testing"))


def main() -> None:
    """Run the demo with ``GeminiPropagateLogic.propagate``."""
    import slicer

    with tempfile.TemporaryDirectory() as folder:
        module = boot.boot(Path(folder))
        import hippocampus_demo

        logic = module.GeminiPropagateLogic()
        # The demo draws into a slice view of its own, which another of its name would confuse.
        for kind in ("vtkMRMLSliceNode", "vtkMRMLSliceCompositeNode"):
            while view := slicer.mrmlScene.GetFirstNodeByClass(kind):
                slicer.mrmlScene.RemoveNode(view)

        def through_the_logic(scene: Any, atlas: Any, targets: list[Any], arguments: Any) -> Any:
            options = hippocampus_demo.PropagateOptions(
                model=arguments.model, device=arguments.device
            )
            return logic.propagate(module.Interpreter(arguments.python), [atlas], targets, options)

        hippocampus_demo.main(slicer.mrmlScene, through_the_logic)


if __name__ == "__main__":
    main()
