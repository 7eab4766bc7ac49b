"""``events.jsonl``: appended by one process, followed by any number of others while it grows."""

from __future__ import annotations

import os
from pathlib import Path

from napari_gemini.engine.events import Event, format_event, parse_event
from napari_gemini.errors import EngineError

#: How much of a log's end is read to learn how it ended, in bytes.
TAIL_BYTES = 65_536
_FLAGS = os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0)


def append_line(path: Path, line: str) -> None:
    """Append one line with a single write, so that readers never see lines mixed.

    A writer that was killed may have left half a line; the new one then starts on its own line.

    Raises
    ------
    EngineError
        If the disk is full or the file cannot be written.
    """
    data = line.encode() + b"\n"
    try:
        descriptor = os.open(path, _FLAGS, 0o644)
        try:
            size = os.fstat(descriptor).st_size
            if size:
                os.lseek(descriptor, size - 1, os.SEEK_SET)
                if os.read(descriptor, 1) != b"\n":
                    data = b"\n" + data
            while data:  # a disk that fills up takes a part first
                data = data[os.write(descriptor, data) :]
        finally:
            os.close(descriptor)
    except OSError as error:
        raise EngineError(
            f"{path} cannot be written ({error.strerror}); free some disk space or check the "
            "folder's permissions."
        ) from error


def append_event(path: Path, event: Event) -> None:
    """Append one event to a log."""
    append_line(path, format_event(event))


class EventTail:
    """Read the events of a growing log from where the last reading ended.

    Half a line at the end is left for the next reading; lines that no version of ours wrote are
    skipped and counted in ``skipped``. A file that got shorter is read from its beginning.

    Parameters
    ----------
    path
        The log; it need not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.skipped = 0
        self._offset = 0

    def read(self) -> list[Event]:
        """Return the events that were completed since the last call."""
        try:
            with self.path.open("rb") as stream:
                if os.fstat(stream.fileno()).st_size < self._offset:
                    self._offset = 0
                stream.seek(self._offset)
                data = stream.read()
        except FileNotFoundError:
            return []
        complete = data[: data.rfind(b"\n") + 1]
        self._offset += len(complete)
        return self._parse(complete)

    def _parse(self, data: bytes) -> list[Event]:
        events: list[Event] = []
        for line in data.splitlines():
            if not line.strip():
                continue
            try:
                events.append(parse_event(line))
            except EngineError:
                self.skipped += 1
        return events


def last_events(path: Path, size: int = TAIL_BYTES) -> list[Event]:
    """Return the events in the last `size` bytes of a log, oldest first."""
    tail = EventTail(path)
    try:
        tail._offset = max(0, path.stat().st_size - size)
    except FileNotFoundError:
        return []
    return tail.read()
