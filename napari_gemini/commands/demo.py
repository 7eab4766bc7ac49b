"""``napari-gemini demo``: the main job on a phantom cohort, from labels for five to a report."""
from __future__ import annotations
from napari_gemini.commands.options import AsJson, Debug, Device
from napari_gemini.commands.running import guarded
@guarded
def demo(device: Device = "auto", as_json: AsJson = False, debug: Debug = False) -> None:
    """Run."""
