"""The engine's own small jobs: is it there, and reading a file that ITK parses."""

from __future__ import annotations

import os
import platform
from typing import Any

from napari_gemini import __version__
from napari_gemini.engine.arrays import exchange
from napari_gemini.engine.jobs import LoadVolumeJob, PingJob
from napari_gemini.progress import Reporter


def ping(job: PingJob, reporter: Reporter) -> dict[str, Any]:
    """Say who answers.

    Returns
    -------
    dict
        ``echo``, ``pid``, ``version``, ``python`` and, when asked, ``devices``.
    """
    values: dict[str, Any] = {
        "echo": job.echo,
        "pid": os.getpid(),
        "version": __version__,
        "python": platform.python_version(),
    }
    if job.devices:
        from napari_gemini.engine.device import list_devices

        values["devices"] = list_devices()
    return values


def load_volume(job: LoadVolumeJob, reporter: Reporter) -> dict[str, Any]:
    """Read an image or a label map; a bad file takes this process down and not the window.

    Returns
    -------
    dict
        ``array`` (a reference for :func:`napari_gemini.engine.arrays.open_array`), ``affine``
        (4x4, voxel index to RAS mm), ``spacing_known``, ``path``.
    """
    from napari_gemini.volumes.reading import read_labels, read_volume

    reporter.log(f"Reading {job.path}", "debug")
    if job.labels:
        volume = read_labels(job.path)
    else:
        volume = read_volume(job.path, volume_index=job.volume_index)
    return {
        "array": exchange().put(volume.data).model_dump(),
        "affine": volume.affine.tolist(),
        "spacing_known": volume.spacing_known,
        "path": str(job.path),
    }
