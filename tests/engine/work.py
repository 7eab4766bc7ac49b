"""Work for batches, importable by the workers of a cluster."""

from __future__ import annotations

import os
import time
from typing import Any

from napari_gemini.engine.batch import BatchTarget
from napari_gemini.errors import InputError
from napari_gemini.progress import Reporter, stop_if_cancelled
from napari_gemini.volumes.atomic import write_text_atomic


def double(target: BatchTarget, reporter: Reporter) -> dict[str, Any]:
    """Write twice the number in the input; note each time it is done."""
    number = int(target.inputs["image"].read_text())
    log = target.outputs[0].parent / "done.txt"
    with log.open("a") as stream:
        stream.write(f"{target.key}\n")
    if number < 0:
        raise InputError(f"{target.inputs['image'].name} is negative; give another.")
    until = time.monotonic() + target.parameters.get("seconds", 0.0)
    while time.monotonic() < until:
        stop_if_cancelled(reporter)
        time.sleep(0.02)
    marker = target.outputs[0].parent / "die-once"
    if target.key == "t3" and marker.exists():
        marker.unlink()
        os._exit(1)
    if (target.outputs[0].parent / f"always-die-{target.key}").exists():
        os._exit(1)
    write_text_atomic(target.outputs[0], str(2 * number * target.parameters.get("factor", 1)))
    return {"number": 2 * number}
