"""Downloads that go on where they broke off.

pooch checks hashes and puts files into place in one step, but starts every download from nothing.
:class:`ResumingDownloader` plugs into it and keeps what has come so far beside the file.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

from napari_gemini.errors import InputError
from napari_gemini.progress import Reporter, SilentReporter, stop_if_cancelled

if TYPE_CHECKING:
    import requests

PART = ".part"
ATTEMPTS = 3
TIMEOUT_SECONDS = 30
LATER = "the server cannot serve it now, so run the same command again later"
"""The way out where :func:`is_busy`."""
#: A connection that breaks loses at most this much of what came.
_CHUNK = 1 << 14
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")


class DownloadError(InputError):
    """A file could not be fetched; what has come so far is kept."""


def is_web_address(address: str) -> bool:
    """Whether an address is fetched over the network."""
    return urlsplit(address).scheme in ("http", "https")


def local_path(address: str) -> Path:
    """Return the file that an address without network means: a path or a ``file:`` URL."""
    parts = urlsplit(address)
    if parts.scheme == "file":
        return Path(url2pathname(unquote(parts.path)))
    return Path(address).expanduser()


class ResumingDownloader:
    """Fetch one file for pooch, over HTTP with resume, or from a local mirror.

    Parameters
    ----------
    part
        Where the beginning of the file is kept until all of it has come.
    size
        Bytes of the whole file, for the progress; None where it is not known.
    reporter
        Hears of progress and may stop the work; the beginning stays.
    attempts
        How often a file is asked for in all, where the connection breaks or the server is busy.
    remedy
        What to do where a local file is missing.
    wait_seconds
        Pause before the second attempt; it doubles with each.
    """

    def __init__(
        self,
        part: Path,
        size: int | None = None,
        reporter: Reporter | None = None,
        *,
        attempts: int = ATTEMPTS,
        remedy: str = "correct the registry",
        wait_seconds: float = 1.0,
    ) -> None:
        self.part = part
        self.size = size
        self.reporter = reporter or SilentReporter()
        self.attempts = attempts
        self.remedy = remedy
        self.wait_seconds = wait_seconds

    def __call__(self, url: str, output_file: Any, pooch: Any = None) -> None:
        """Fetch `url` into `output_file`, as pooch asks for it.

        Raises
        ------
        DownloadError
            If it cannot be fetched.
        """
        if is_web_address(url):
            self._fetch(url)
        else:
            self._copy(local_path(url))
        shutil.copyfile(self.part, output_file)

    def _copy(self, source: Path) -> None:
        try:
            with source.open("rb") as stream, self.part.open("wb") as sink:
                self._write(iter(lambda: stream.read(_CHUNK), b""), sink, 0)
        except FileNotFoundError:
            raise DownloadError(f"There is no file {source}: {self.remedy}.") from None

    def _fetch(self, url: str) -> None:
        import requests

        for attempt in range(1, self.attempts + 1):
            try:
                self._fetch_rest(url)
            except requests.RequestException as error:
                refused = isinstance(error, requests.HTTPError) and not is_busy(error)
                if refused or attempt == self.attempts:
                    raise DownloadError(
                        f"{url} cannot be fetched ({reason(error)}): {self._way_out(error)}."
                    ) from error
                time.sleep(self.wait_seconds * 2 ** (attempt - 1))
            else:
                return

    def _way_out(self, error: requests.RequestException) -> str:
        import requests

        if is_busy(error):
            return LATER
        if isinstance(error, requests.HTTPError):
            return "correct the address"
        return (
            "check the connection and run the same command again; it goes on after the "
            f"{self._have():,} bytes that have come"
        )

    def _have(self) -> int:
        return self.part.stat().st_size if self.part.is_file() else 0

    def _fetch_rest(self, url: str) -> None:
        """Ask for what is missing; a server that sends everything makes us start anew."""
        import requests

        have = self._have()
        if self.size is not None and have >= self.size:
            if have == self.size:
                return
            have = 0  # a rest of another file
        headers = {"Range": f"bytes={have}-"} if have else {}
        # A compressed answer would make byte positions meaningless.
        headers["Accept-Encoding"] = "identity"
        with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT_SECONDS) as answer:
            if answer.status_code == requests.codes.requested_range_not_satisfiable and have:
                self.part.unlink()
                raise requests.ConnectionError("the file on the server is shorter than before")
            answer.raise_for_status()
            start = _start_of(answer) if answer.status_code == requests.codes.partial_content else 0
            if start not in (0, have):
                raise requests.ConnectionError("the server sent another part than was asked for")
            expected = _length_of(answer)
            with self.part.open("ab" if start else "wb") as sink:
                self._write(answer.iter_content(_CHUNK), sink, start)
        if expected is not None and self._have() < start + expected:
            raise requests.ConnectionError("the connection ended early")

    def _write(self, chunks: Iterator[bytes], sink: BinaryIO, done: int) -> None:
        for chunk in chunks:
            sink.write(chunk)
            done += len(chunk)
            if self.size:
                self.reporter.progress(min(done, self.size), self.size, "fetching")
            if done != self.size:
                stop_if_cancelled(self.reporter)


def _start_of(answer: Any) -> int:
    """Return the position of the first byte of a partial answer, -1 where it does not say."""
    match = _CONTENT_RANGE.match(answer.headers.get("Content-Range", ""))
    return int(match.group(1)) if match else -1


def _length_of(answer: Any) -> int | None:
    length = answer.headers.get("Content-Length")
    return int(length) if length is not None and length.isdigit() else None


def is_busy(error: Exception) -> bool:
    """Whether a server answered that it cannot serve now, so that asking again may help."""
    status = getattr(getattr(error, "response", None), "status_code", 0)
    return status >= 500 or status == 429


def reason(error: Exception) -> str:
    """Return the innermost words of a chain of connection errors."""
    response = getattr(error, "response", None)
    if response is not None:
        return f"{response.status_code} {response.reason}"
    innermost: BaseException = error
    while innermost.__cause__ or innermost.__context__:
        innermost = innermost.__cause__ or innermost.__context__ or innermost
    return str(innermost).rstrip(".") or type(innermost).__name__
