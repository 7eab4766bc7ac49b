"""``python -m napari_gemini.engine``: the interactive child, or a detached training."""

from __future__ import annotations

import argparse
import importlib
import sys

from napari_gemini.engine.streams import take_streams

_GRACE_HELP = "how long a running job has to stop after standard input was closed"


def main(arguments: list[str] | None = None) -> int:
    """Run one engine process and return its exit code."""
    # First of all, and the imports below come later: whatever they print cannot do harm.
    requests, answers = take_streams()
    parser = argparse.ArgumentParser(prog="python -m napari_gemini.engine", description=__doc__)
    parser.add_argument("--exchange", metavar="DIR", help="folder for arrays, made by the client")
    parser.add_argument("--grace", type=float, default=5.0, metavar="SECONDS", help=_GRACE_HELP)
    parser.add_argument("--detached", action="store_true", help="run the training on stdin")
    parser.add_argument(
        "--import",
        dest="modules",
        action="append",
        default=[],
        metavar="MODULE",
        help="import a module that registers more jobs",
    )
    options = parser.parse_args(arguments)
    for module in options.modules:
        importlib.import_module(module)
    if options.detached:
        from napari_gemini.engine.detached import run_detached

        return run_detached(requests, answers)
    from napari_gemini.engine.child import serve

    if options.exchange:
        from napari_gemini.engine.arrays import use_exchange

        use_exchange(options.exchange)
    return serve(requests, answers, options.grace)


if __name__ == "__main__":
    sys.exit(main())
