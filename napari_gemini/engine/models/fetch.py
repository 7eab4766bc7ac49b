"""Fetch a model by its registry: resumed, checked, and there all at once or not at all."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from napari_gemini.engine.models.download import PART, ResumingDownloader, is_web_address
from napari_gemini.engine.models.registry import (
    REGISTRY,
    WEIGHTS,
    RemoteFile,
    RemoteModel,
    read_registry,
)
from napari_gemini.engine.models.shelf import new_model_folder
from napari_gemini.engine.provenance import sha256_of
from napari_gemini.errors import InputError, ModelError
from napari_gemini.learning.card import read_card
from napari_gemini.progress import Reporter
from napari_gemini.resources import models_folder
from napari_gemini.volumes.atomic import explain_write_error, flush_folder, make_room

MIRROR = "NAPARI_GEMINI_MIRROR"
"""Environment variable with a folder or web address that holds copies of all models."""


def fetch_model(
    spec: str,
    registry: str | None,
    reporter: Reporter,
    *,
    mirror: str | None = None,
    folder: Path | None = None,
    wait_seconds: float = 1.0,
) -> dict[str, Any]:
    """Fetch a model.

    Parameters
    ----------
    spec
        Its name in the registry, or its URL there.
    registry
        Address of the registry; the shipped one unless given.
    reporter
        Hears of progress and may stop the work; a second call goes on where it stopped.
    mirror
        Folder or web address with one subfolder a model, in place of the registry's URLs; what the
        environment variable :data:`MIRROR` says unless given.
    folder
        Folder of models to put it into; the user's own unless given.
    wait_seconds
        First pause after a broken connection or a server that is busy.

    Returns
    -------
    dict
        ``name``, ``folder``, ``licence``, ``bytes``.

    Raises
    ------
    InputError, ModelError
        If it cannot be fetched, or is not the model that the registry describes.
    """
    address = registry or str(models_folder() / REGISTRY)
    name, model = read_registry(address).find(spec)
    final = new_model_folder(name, folder)
    mirror = mirror or os.environ.get(MIRROR) or None
    base = _base(name, model, mirror)
    remedy = (
        "correct the registry" if mirror is None else "complete the mirror, or fetch without one"
    )
    reporter.log(
        f"Fetching {name} ({model.size / 1e6:.1f} MB, licence {model.licence}) from {base}"
    )
    # Not a glob of model folders: nobody takes a half-fetched model for a whole one.
    temporary = final.parent / f".fetching-{name}"
    try:
        _make_room(temporary, model)
        # Small files first: a wrong address shows before the long download.
        for file, remote in sorted(model.files.items(), key=lambda item: item[1].size):
            downloader = ResumingDownloader(
                _part(temporary, file, remote),
                remote.size,
                reporter,
                remedy=remedy,
                wait_seconds=wait_seconds,
            )
            _fetch_file(base + file, temporary / file, remote.sha256, downloader)
        _check(temporary, name)
        flush_folder(temporary)
        temporary.rename(final)
        flush_folder(final.parent)
    except OSError as error:
        raise explain_write_error(error, final) from error
    return {
        "name": name,
        "folder": str(final),
        "licence": model.licence,
        "bytes": model.size,
        "title": model.title,
    }


def _part(temporary: Path, file: str, remote: RemoteFile) -> Path:
    """Return where the beginning of a file is kept.

    Weights of one layout have one size, so only the hash tells the beginning of a model from that
    of its successor of the same name.
    """
    return temporary / f"{file}.{remote.sha256[:8]}{PART}"


def _make_room(temporary: Path, model: RemoteModel) -> None:
    """Make the folder of a download, unless its disk is too full for what is missing.

    Beginnings of other files than the registry describes now are thrown away.
    """
    temporary.mkdir(parents=True, exist_ok=True)
    wanted = {_part(temporary, file, remote) for file, remote in model.files.items()}
    for rest in set(temporary.glob(f"*{PART}")) - wanted:
        rest.unlink(missing_ok=True)
    have = sum(path.stat().st_size for path in temporary.iterdir() if path.is_file())
    if have < model.size:
        make_room(temporary / f"room{PART}", model.size - have)


def _base(name: str, model: RemoteModel, mirror: str | None) -> str:
    if mirror is None:
        return model.url
    if is_web_address(mirror) or mirror.startswith("file:"):
        return f"{mirror.rstrip('/')}/{name}/"
    return f"{Path(mirror).expanduser().absolute().as_posix()}/{name}/"


def _fetch_file(url: str, path: Path, sha256: str, downloader: ResumingDownloader) -> None:
    """Fetch one file through pooch, which checks the hash and puts it into place.

    Raises
    ------
    InputError
        If it cannot be fetched, or has another hash; then nothing of it is kept.
    """
    import pooch

    # pooch tells every download at length.
    pooch.get_logger().setLevel("WARNING")
    try:
        pooch.retrieve(
            url,
            known_hash=f"sha256:{sha256}",
            fname=path.name,
            path=path.parent,
            downloader=downloader,
        )
    except ValueError:
        downloader.part.unlink(missing_ok=True)
        raise InputError(
            f"{url} is not the file that the registry describes (its sha256 is another), and was "
            "thrown away: fetch it from elsewhere, or ask whoever keeps the registry."
        ) from None
    downloader.part.unlink(missing_ok=True)


def _check(folder: Path, name: str) -> None:
    """Refuse a model whose card and weights do not belong together."""
    card = read_card(folder)
    if card.weights_sha256 and card.weights_sha256 != sha256_of(folder / WEIGHTS):
        shutil.rmtree(folder)
        raise ModelError(
            f"The weights of {name} are not those of its model.json: ask whoever keeps the "
            "registry."
        )
