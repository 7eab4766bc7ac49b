"""What the libraries of this Python can do, found out in a process that may die of it.

Run as a script (``python probe.py torch window ...``); prints one JSON line per name, so that when
a library kills its process, the first name without a line is the culprit. Standard library only,
and run by its path: it has to work where nothing else does.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable
from typing import Any


def probe_module(name: str) -> dict[str, Any]:
    """Import a module and return its ``version``."""
    module = importlib.import_module(name)
    return {"version": str(getattr(module, "__version__", "unknown"))}


def probe_torch() -> dict[str, Any]:
    """Return torch's version, its devices and whether they have bfloat16."""
    import torch

    answer: dict[str, Any] = {
        "version": str(torch.__version__),
        "cuda_build": torch.version.cuda,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "devices": [],
    }
    if answer["cuda"]:
        for index in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(index)
            answer["devices"].append([properties.name, properties.total_memory])
        answer["bf16"] = bool(torch.cuda.is_bf16_supported(including_emulation=False))
    else:
        tests = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
        answer["bf16"] = any(getattr(torch.cpu, name, bool)() for name in tests)
    return answer


def probe_qt() -> dict[str, Any]:
    """Return the Qt binding that qtpy picks and the version of Qt itself."""
    import qtpy
    from qtpy.QtCore import qVersion

    # qtpy.QT_VERSION is what the binding was built against, not what is loaded.
    return {"binding": qtpy.API_NAME, "version": str(qVersion())}


def probe_window() -> dict[str, Any]:
    """Make an invisible canvas the way napari does and return its OpenGL version and renderer."""
    import qtpy
    from vispy import app
    from vispy.gloo import gl

    app.use_app(qtpy.API_NAME.lower())
    canvas = app.Canvas(show=False)
    canvas.set_current()
    answer = {
        "version": str(gl.glGetParameter(gl.GL_VERSION)),
        "renderer": str(gl.glGetParameter(gl.GL_RENDERER)),
    }
    canvas.close()
    return answer


SPECIAL: dict[str, Callable[[], dict[str, Any]]] = {
    "torch": probe_torch,
    "qt": probe_qt,
    "window": probe_window,
}


def main(names: list[str]) -> None:
    """Probe each name in turn and print one JSON line per name.

    Parameters
    ----------
    names
        Modules to import, or ``torch``, ``qt``, ``window`` for a closer look.
    """
    # Libraries print where they like; the answers keep a stream of their own.
    answers, sys.stdout = sys.stdout, sys.stderr
    for name in names:
        try:
            answer = SPECIAL[name]() if name in SPECIAL else probe_module(name)
        except BaseException as error:  # a library may raise anything while it loads
            answer = {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps({"name": name, **answer}) + "\n")
        answers.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
