"""Registry files: where models can be fetched, with the hash, size and licence of each.

A registry is a JSON file::

    {"schema_version": 1,
     "models": {"general-3d": {
         "url": "general-3d/", "licence": "BSD-3-Clause", "title": "...",
         "files": {"weights.safetensors": {"sha256": "...", "size": 123}, ...}}}}

A URL that is not absolute counts from where the registry lies, so a folder of models with its
registry can be put on any web server or shared drive as it is.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urljoin, urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from napari_gemini.engine.models.download import LATER, is_busy, is_web_address, local_path, reason
from napari_gemini.engine.provenance import sha256_of
from napari_gemini.errors import InputError, first_problem
from napari_gemini.learning.card import CARD, README, read_card
from napari_gemini.volumes.atomic import write_json_atomic

SCHEMA_VERSION = 1
REGISTRY = "registry.json"
WEIGHTS = "weights.safetensors"
NEEDED = (CARD, WEIGHTS)

#: What may be in a model's folder; a registry cannot make us write anything else.
FileName = Literal["weights.safetensors", "model.json", "README.md", "LICENSE"]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class RemoteFile(BaseModel):
    """One file of a model.

    Attributes
    ----------
    sha256
        Its hash.
    size
        Its bytes.
    """

    model_config = ConfigDict(extra="ignore")

    sha256: Sha256
    size: int = Field(gt=0)


class RemoteModel(BaseModel):
    """One model of a registry.

    Attributes
    ----------
    url
        Folder that the files lie in.
    licence
        Licence of the weights.
    title
        What the model is.
    files
        Its files; weights and card are needed.
    """

    model_config = ConfigDict(extra="ignore")

    url: str
    licence: str = Field(min_length=1)
    title: str = ""
    files: dict[FileName, RemoteFile]

    @field_validator("files")
    @classmethod
    def _has_what_is_needed(cls, files: dict[FileName, RemoteFile]) -> dict[FileName, RemoteFile]:
        missing = [name for name in NEEDED if name not in files]
        if missing:
            raise ValueError(f"{missing[0]} is missing")
        return files

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files.values())


class Registry(BaseModel):
    """The models that a registry file names."""

    model_config = ConfigDict(extra="ignore")

    schema_version: int = SCHEMA_VERSION
    models: dict[str, RemoteModel]

    def find(self, spec: str) -> tuple[str, RemoteModel]:
        """Return the model that a name or a URL means, with its name.

        Raises
        ------
        InputError
            If the registry does not have it: without a hash nothing is fetched.
        """
        if spec in self.models:
            return spec, self.models[spec]
        for name, model in self.models.items():
            if model.url.rstrip("/") == spec.rstrip("/"):
                return name, model
        known = ", ".join(sorted(self.models)) or "no models"
        raise InputError(
            f"The registry does not have {spec!r}, and without a known hash nothing is fetched: "
            f"it has {known}."
        )


def read_registry(address: str) -> Registry:
    """Read a registry file from a path, a ``file:`` URL or a web address; URLs become absolute.

    Raises
    ------
    InputError
        If it cannot be had, is damaged, or a newer version wrote it.
    """
    text = _read_text(address)
    try:
        content = json.loads(text)
    except ValueError:
        raise InputError(f"{address} is not a registry of models (no JSON).") from None
    version = content.get("schema_version") if isinstance(content, dict) else None
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise InputError(
            f"{address} was written for a newer version (layout {version}): update napari-gemini."
        )
    try:
        registry = Registry.model_validate(content)
    except ValidationError as error:
        where, what = first_problem(error)
        raise InputError(
            f"{address} is not a registry of models ({where or 'the file'}: {what}); every model "
            "needs a url, a licence and files, every file a sha256 and size."
        ) from None
    for model in registry.models.values():
        model.url = absolute_url(model.url, address)
    return registry


def absolute_url(url: str, base: str) -> str:
    """Return the folder that a URL in a registry means, with a slash at its end.

    Parameters
    ----------
    url
        As in the registry.
    base
        Address of the registry.
    """
    url = url.rstrip("/") + "/"
    if is_web_address(url) or urlsplit(url).scheme == "file":
        return url
    if is_web_address(base):
        return urljoin(base, url)
    return (local_path(base).absolute().parent / url).as_posix().rstrip("/") + "/"


def _read_text(address: str) -> str:
    if not is_web_address(address):
        path = local_path(address)
        try:
            return path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            raise InputError(f"The registry {path} cannot be read: check its name.") from None
    import requests

    try:
        answer = requests.get(address, timeout=30)
        answer.raise_for_status()
    except requests.RequestException as error:
        way_out = LATER if is_busy(error) else "check the address"
        raise InputError(
            f"The registry {address} cannot be fetched ({reason(error)}): {way_out}."
        ) from None
    return answer.text


def write_registry(folder: Path) -> Path:
    """Write the registry of a folder of models, so that it can serve as a mirror.

    Parameters
    ----------
    folder
        One subfolder a model.

    Returns
    -------
    Path
        The file.
    """
    models = {}
    for card in sorted(folder.glob(f"*/{CARD}")):
        about = read_card(card.parent).about
        names = (WEIGHTS, CARD, README, "LICENSE")
        files = {name: card.parent / name for name in names if (card.parent / name).is_file()}
        models[card.parent.name] = {
            "url": f"{card.parent.name}/",
            "licence": (about.licence if about is not None else "") or "not stated",
            "title": about.title if about is not None else "",
            "files": {
                name: {"sha256": sha256_of(path), "size": path.stat().st_size}
                for name, path in files.items()
            },
        }
    path = folder / REGISTRY
    write_json_atomic(path, {"schema_version": SCHEMA_VERSION, "models": models})
    return path
