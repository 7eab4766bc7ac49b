"""What was painted since a label file was written: small, quick to save, replayed after a crash.

A large label map takes seconds to pack and write, a stroke takes milliseconds. While such a map is
painted, each save appends the boxes that changed to a log beside the label file; the file itself
follows when there is time. Whoever takes the study's lock next replays what a crash left.

A log belongs to one state of the label file, which it knows by the file's SHA-256. Logs are cut
into numbered segments: while the file is being packed, new strokes go to the next one. ::

    labels/.strokes/<case>/3.log    changes, in the order in which they were made
    labels/.strokes/<case>/3.base   SHA-256 of the label file that segment 3 starts from

Changes say what a box holds, not how it differs, so that replaying one twice does no harm.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_gemini.volumes.atomic import explain_write_error, write_text_atomic

FOLDER = ".strokes"
_MAGIC = b"GSL1"
#: Magic, length of what follows, and its checksum.
_HEAD = struct.Struct("<4sQI")
_BOX = np.dtype([("low", "<i4", 3), ("shape", "<i4", 3)])
#: Strokes are packed quickly rather than tightly.
_LEVEL = 1

Check = Callable[[NDArray[Any]], None]


@dataclass(frozen=True, eq=False)
class Frozen:
    """Labels at one moment, to be packed while painting goes on.

    Attributes
    ----------
    labels : (*shape) int
        A copy of its own.
    segment
        Number of the segment that holds what is painted after that moment.
    """

    labels: NDArray[Any]
    segment: int


class StrokeLog:
    """Appends what changes in one label map.

    Parameters
    ----------
    folder
        The log's own folder; what is in it is thrown away.
    file
        The label file, which may not exist yet.
    saved : (*shape) int
        What the file holds. Kept up to date in place.
    check
        Raises GeminiError for values that may not be saved.
    """

    def __init__(self, folder: Path, file: Path, saved: NDArray[Any], check: Check) -> None:
        self.folder, self._file, self._check = folder, file, check
        self._saved = saved
        self._segment = 0
        self._started = False

    @property
    def saved(self) -> NDArray[Any]:
        """The labels as they are on disk, file and log together."""
        return self._saved

    def append(self, labels: NDArray[Any]) -> int:
        """Write what differs from what is saved; on return it is on disk.

        Parameters
        ----------
        labels : (*shape) int
            As they are now. They may change meanwhile: what is read is what is written.

        Returns
        -------
        int
            Boxes that were written.

        Raises
        ------
        GeminiError
            If a value may not be saved, or the disk is full; the log is as it was before then.
        """
        boxes = list(_changed(_slabs(self._saved), _slabs(labels)))
        for _, values in boxes:
            self._check(values)
        if boxes:
            self._write(_packed(boxes))
            self._remember(boxes, labels.dtype)
        return len(boxes)

    def _write(self, record: bytes) -> None:
        path = self.folder / f"{self._segment}.log"
        size = 0
        try:
            if not self._started:
                shutil.rmtree(self.folder, ignore_errors=True)
                self.folder.mkdir(parents=True)
                write_text_atomic(self._base(self._segment), digest(self._file))
                self._started = True
            with path.open("ab") as handle:
                size = handle.tell()
                handle.write(record)
                handle.flush()
                os.fsync(handle.fileno())
        except OSError as error:
            # Half a record would hide all that follow.
            with contextlib.suppress(OSError):
                os.truncate(path, size)
            raise explain_write_error(error, path) from error

    def _remember(self, boxes: list[tuple[Any, NDArray[Any]]], kind: np.dtype[Any]) -> None:
        wide = np.promote_types(kind, self._saved.dtype)
        if wide != self._saved.dtype:
            self._saved = self._saved.astype(wide)
        _put(_slabs(self._saved), boxes)

    def _base(self, segment: int) -> Path:
        return self.folder / f"{segment}.base"

    @property
    def dirty(self) -> bool:
        """Whether the log holds something that the label file lacks."""
        return self._started

    def freeze(self) -> Frozen:
        """Copy what is saved and begin a new segment; not while :meth:`append` runs."""
        self._segment += 1
        return Frozen(np.array(self._saved, order="F"), self._segment)

    def note_packed(self, frozen: Frozen, packed: Path) -> None:
        """Note that a file is about to become the label file.

        Raises
        ------
        GeminiError
            If that cannot be noted: the file must not take the place then.
        """
        if self._started:
            write_text_atomic(self._base(frozen.segment), digest(packed))

    def forget_packed(self, frozen: Frozen) -> None:
        """Remove what the label file holds by now; call it when nothing appends."""
        if not self._started:
            return
        if not (self.folder / f"{self._segment}.log").is_file() and frozen.segment == self._segment:
            self.clear()
            return
        for number in _segments(self.folder):
            if number < frozen.segment:
                # The base goes first: a log without one is never where replaying starts.
                for suffix in ("base", "log"):
                    (self.folder / f"{number}.{suffix}").unlink(missing_ok=True)

    def clear(self) -> None:
        """Remove the log: the label file holds everything."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self._started = False


def digest(file: Path) -> str:
    """Return the SHA-256 of a file, empty where there is none."""
    if not file.is_file():
        return ""
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def pending(folder: Path, file: Path) -> list[Path]:
    """Return the segments that a label file lacks, in order; none if it is not the logs' file.

    Parameters
    ----------
    folder
        Of the log.
    file
        The label file.
    """
    known = digest(file)
    first = None
    numbers = _segments(folder)
    for number in numbers:
        base = folder / f"{number}.base"
        if base.is_file() and base.read_text(encoding="utf-8").strip() == known:
            first = number
    if first is None:
        return []
    logs = [folder / f"{number}.log" for number in numbers if number >= first]
    return [log for log in logs if log.is_file()]


def replay(logs: list[Path], labels: NDArray[Any]) -> NDArray[Any]:
    """Return labels with the changes of logs, as far as these are whole.

    Parameters
    ----------
    logs
        Of :func:`pending`.
    labels : (*shape) int
        What the label file holds.
    """
    result = np.array(labels, order="F")
    for log in logs:
        for boxes in _records(log):
            for _, values in boxes:
                wide = np.promote_types(values.dtype, result.dtype)
                result = result.astype(wide, copy=False)
            _put(_slabs(result), boxes)
    return result


def _segments(folder: Path) -> list[int]:
    found = {path.stem for path in folder.glob("*.log")} | {p.stem for p in folder.glob("*.base")}
    return sorted(int(stem) for stem in found if stem.isdigit())


def _slabs(labels: NDArray[Any]) -> NDArray[Any]:
    """Return a view with three axes, the slabs along the last."""
    return labels.reshape(*labels.shape, 1) if labels.ndim == 2 else labels


def _changed(
    old: NDArray[Any], new: NDArray[Any]
) -> Iterator[tuple[tuple[slice, slice, slice], NDArray[Any]]]:
    """Yield the box around what differs in each slab, with a copy of what it holds now."""
    for depth in range(new.shape[2]):
        if np.array_equal(old[:, :, depth], new[:, :, depth]):
            continue
        differs = old[:, :, depth] != new[:, :, depth]
        rows, columns = np.flatnonzero(differs.any(1)), np.flatnonzero(differs.any(0))
        if not rows.size:
            continue  # it was taken back between the two looks
        box = (
            slice(int(rows[0]), int(rows[-1]) + 1),
            slice(int(columns[0]), int(columns[-1]) + 1),
            slice(depth, depth + 1),
        )
        yield box, np.array(new[box], order="F")


def _put(slabs: NDArray[Any], boxes: list[tuple[Any, NDArray[Any]]]) -> None:
    for box, values in boxes:
        slabs[box] = values


def _packed(boxes: list[tuple[tuple[slice, slice, slice], NDArray[Any]]]) -> bytes:
    """Return boxes as one record."""
    table = np.array(
        [([side.start for side in box], values.shape) for box, values in boxes], dtype=_BOX
    )
    kind = np.result_type(*{values.dtype for _, values in boxes}).newbyteorder("<")
    parts = [struct.pack("<I8s", len(boxes), kind.str.encode()), table.tobytes()]
    parts += [values.astype(kind, copy=False).tobytes(order="F") for _, values in boxes]
    content = zlib.compress(b"".join(parts), _LEVEL)
    return _HEAD.pack(_MAGIC, len(content), zlib.crc32(content)) + content


def _records(log: Path) -> Iterator[list[tuple[tuple[slice, slice, slice], NDArray[Any]]]]:
    """Yield the boxes of each record, up to the first that is not whole."""
    with log.open("rb") as handle:
        while True:
            head = handle.read(_HEAD.size)
            if len(head) < _HEAD.size:
                return
            magic, length, checksum = _HEAD.unpack(head)
            content = handle.read(length) if magic == _MAGIC else b""
            if len(content) < length or zlib.crc32(content) != checksum:
                return
            yield _unpacked(zlib.decompress(content))


def _unpacked(content: bytes) -> list[tuple[tuple[slice, slice, slice], NDArray[Any]]]:
    count, name = struct.unpack_from("<I8s", content)
    kind = np.dtype(name.rstrip(b"\0").decode())
    place = struct.calcsize("<I8s")
    table = np.frombuffer(content, _BOX, count, place)
    place += table.nbytes
    boxes = []
    for low, shape in zip(table["low"], table["shape"], strict=True):
        size = int(np.prod(shape))
        values = np.frombuffer(content, kind, size, place).reshape(shape, order="F")
        place += values.nbytes
        box = tuple(slice(int(a), int(a) + int(n)) for a, n in zip(low, shape, strict=True))
        boxes.append(((box[0], box[1], box[2]), values))
    return boxes
