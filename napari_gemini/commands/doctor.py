"""``napari-gemini doctor``: what works on this machine."""

from __future__ import annotations

import dataclasses

import typer

from napari_gemini.commands.options import AsJson, Debug, Device
from napari_gemini.commands.running import guarded, show


@guarded
def doctor(device: Device = "auto", as_json: AsJson = False, debug: Debug = False) -> None:
    """Tell what works on this machine, and the exact command that mends what does not."""
    from napari_gemini.doctor import run_doctor

    checks = run_doctor()
    fine = all(check.ok for check in checks if check.needed)
    result = {"ok": fine, "checks": [dataclasses.asdict(check) for check in checks]}

    def lines(_: object) -> list[str]:
        text = []
        for check in checks:
            mark = "ok  " if check.ok else "FAIL" if check.needed else "note"
            text.append(f"{mark}  {check.name}: {check.detail}")
            if check.command and not check.ok:
                text.append(f"      mend it: {check.command}")
        return text

    show(result, lines, as_json=as_json)
    if not fine:
        raise typer.Exit(4)
