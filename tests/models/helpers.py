"""A web server that can break off, a small model, and progress that is remembered."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from napari_gemini.learning.card import About, ModelCard
from napari_gemini.learning.checkpoints import file_sha256
from napari_gemini.networks.gemini import build_network
from napari_gemini.settings import NetworkSettings


@dataclass
class Behaviour:
    """How the server answers, and what it was asked.

    Attributes
    ----------
    break_after
        Bytes after which a connection is closed, one number for each answer; then none is.
    refuse
        HTTP statuses in place of the weights, one for each answer; then they are sent.
    ranges
        Whether it can send a part of a file.
    asked
        Path and ``Range`` header of every request.
    """

    break_after: list[int] = field(default_factory=list)
    refuse: list[int] = field(default_factory=list)
    ranges: bool = True
    asked: list[tuple[str, str | None]] = field(default_factory=list)

    def ranges_of(self, name: str) -> list[str | None]:
        return [wanted for path, wanted in self.asked if path.endswith(name)]


class Handler(SimpleHTTPRequestHandler):
    """Serves files, also parts of them, and can close a connection early."""

    protocol_version = "HTTP/1.1"

    def __init__(self, *args: Any, behaviour: Behaviour, **kwargs: Any) -> None:
        self.behaviour = behaviour
        super().__init__(*args, **kwargs)

    def do_GET(self) -> None:
        behaviour, wanted = self.behaviour, self.headers.get("Range")
        behaviour.asked.append((self.path, wanted))
        path = Path(self.translate_path(self.path))
        if not path.is_file():
            self.send_error(404)
            return
        if path.name == "weights.safetensors" and behaviour.refuse:
            self.send_error(behaviour.refuse.pop(0))
            return
        content = path.read_bytes()
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        if not behaviour.ranges:
            start = 0
        elif start >= len(content):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        rest = content[start:]
        if path.name == "weights.safetensors" and behaviour.break_after:
            rest = rest[: behaviour.break_after.pop(0)]
            self.close_connection = True
        self.wfile.write(rest)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@contextmanager
def web_server(folder: Path, behaviour: Behaviour) -> Iterator[str]:
    """Serve a folder on this machine; yields the address."""
    handler = partial(Handler, directory=str(folder), behaviour=behaviour)
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def write_model(folder: Path, dimension: int = 2, **card: Any) -> Path:
    """A network that was never trained, as a model's folder."""
    torch.manual_seed(0)
    plain = NetworkSettings(dimension=dimension, base_width=4, classes=2)
    config = card.get("network", plain)
    folder.mkdir(parents=True)
    weights = {k: v.contiguous() for k, v in build_network(config).state_dict().items()}
    save_file(weights, folder / "weights.safetensors")
    values = {
        "network": config,
        "spacing_mm": [1.0] * dimension,
        "grid_shape": [32] * dimension,
        "objective": "gemini-mip",
        "about": About(title="A test", licence="BSD-3-Clause"),
        "weights_sha256": file_sha256(folder / "weights.safetensors"),
    }
    model = ModelCard.model_validate({**values, **card})
    (folder / "model.json").write_text(model.model_dump_json())
    (folder / "README.md").write_text("# A test\n")
    return folder


class Listener:
    """A reporter that remembers, and cancels after some progress when asked to."""

    def __init__(self, cancel_at: int | None = None) -> None:
        self.done: list[int] = []
        self.messages: list[str] = []
        self.cancel_at = cancel_at

    def progress(self, done: int, total: int, message: str = "", **values: float) -> None:
        assert 0 <= done <= total
        self.done.append(done)

    def log(self, message: str, level: str = "info") -> None:
        self.messages.append(message)

    def event(self, name: str, **payload: Any) -> None:
        """Nothing to remember."""

    def cancelled(self) -> bool:
        return self.cancel_at is not None and len(self.done) >= self.cancel_at
