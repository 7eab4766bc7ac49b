"""The command line ``napari-gemini``: a thin layer that makes jobs and shows their results.

Each command lives in its own file under :mod:`napari_gemini.commands`, put together in
:mod:`napari_gemini.commands.app`. This module imports nothing at first, so that Ctrl-C is
heard from the beginning.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from napari_gemini.commands.interrupts import INTERRUPTED, end_of_interrupt, hear_interrupts


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments
        Without the program's name; those of the process by default.

    Returns
    -------
    int
        The exit code: 0, 2 for bad input, 3 for the device, 4 for the engine, 5 for a training that
        cannot go on, 130 after Ctrl-C.
    """
    with hear_interrupts() as interrupts:
        try:
            from napari_gemini.commands.app import app
            from napari_gemini.commands.running import close_output

            app(list(sys.argv[1:] if arguments is None else arguments))
        except SystemExit as end:
            code = end.code
        except BaseException:
            # An import that is interrupted may raise whatever it likes.
            if not interrupts.heard:
                raise
            end_of_interrupt()
            return INTERRUPTED
        else:
            code = 0
        close_output()
    return code if isinstance(code, int) else 0 if code is None else 1


def __getattr__(name: str) -> Any:
    """Give ``app``, for programs that look into the commands."""
    if name == "app":
        from napari_gemini.commands.app import app

        return app
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


if __name__ == "__main__":
    raise SystemExit(main())
