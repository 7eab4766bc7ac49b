"""Look at the text headers of NRRD and MetaImage files before ITK acts on them.

ITK allocates what a header asks for, takes zero for one or flips an axis without a word where a
spacing makes no sense, and assumes a position where none is given.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from napari_gemini.errors import InputError
from napari_gemini.volumes.checks import (
    LARGEST_DEFLATE_RATIO,
    check_announced_size,
    damaged,
)

_LONGEST_HEADER = 1 << 20
# The most that bzip2 shrinks a run of zeros.
_LARGEST_BZIP2_RATIO = 50_000

_NRRD_BYTES = {
    **dict.fromkeys(("signed char", "int8", "int8_t", "uchar", "unsigned char"), 1),
    **dict.fromkeys(("uint8", "uint8_t"), 1),
    **dict.fromkeys(("short", "short int", "signed short", "signed short int", "int16"), 2),
    **dict.fromkeys(("int16_t", "ushort", "unsigned short", "unsigned short int"), 2),
    **dict.fromkeys(("uint16", "uint16_t"), 2),
    **dict.fromkeys(("int", "signed int", "int32", "int32_t", "uint", "unsigned int"), 4),
    **dict.fromkeys(("uint32", "uint32_t", "float"), 4),
    **dict.fromkeys(("longlong", "long long", "long long int", "signed long long"), 8),
    **dict.fromkeys(("signed long long int", "int64", "int64_t", "ulonglong"), 8),
    **dict.fromkeys(("unsigned long long", "unsigned long long int", "uint64"), 8),
    **dict.fromkeys(("uint64_t", "double"), 8),
}
_META_BYTES = {
    **dict.fromkeys(("MET_CHAR", "MET_UCHAR"), 1),
    **dict.fromkeys(("MET_SHORT", "MET_USHORT"), 2),
    **dict.fromkeys(("MET_INT", "MET_UINT", "MET_FLOAT"), 4),
    **dict.fromkeys(("MET_LONG", "MET_ULONG", "MET_LONG_LONG", "MET_ULONG_LONG"), 8),
    **dict.fromkeys(("MET_DOUBLE",), 8),
}
_NRRD_SPACES = {
    *("right-anterior-superior", "ras", "left-anterior-superior", "las"),
    *("left-posterior-superior", "lps"),
}


@dataclass(frozen=True)
class _Announced:
    sizes: list[int]
    voxel_bytes: int
    data_file: str | None
    factor: float
    compressed: bool


def check_nrrd(path: Path) -> None:
    """Refuse an NRRD file (``.nrrd``, ``.nhdr``) whose header cannot be trusted.

    Raises
    ------
    InputError
        If it is no NRRD file, announces more than it holds, has a spacing that is not positive, or
        is 3D and does not say in which space it lies.
    """
    start = _start_of(path)
    if not start.startswith(b"NRRD"):
        raise InputError(f"{path} is not an NRRD image; check what kind of file it is.")
    head, _, _ = start.partition(b"\n\n")
    if b"\r\n\r\n" in start:
        head = min(head, start.partition(b"\r\n\r\n")[0], key=len)
    fields = _fields(head, ":")
    encoding = fields.get("encoding", "raw").lower()
    voxel = _NRRD_BYTES.get(fields.get("type", "").lower(), 1)
    factor = {"gz": LARGEST_DEFLATE_RATIO, "gzip": LARGEST_DEFLATE_RATIO}.get(encoding, 1.0)
    factor = {"bz2": _LARGEST_BZIP2_RATIO, "bzip2": _LARGEST_BZIP2_RATIO}.get(encoding, factor)
    factor = {"txt": voxel, "text": voxel, "ascii": voxel}.get(encoding, factor)
    data_file = fields.get("data file", fields.get("datafile"))
    sizes = _whole_numbers(path, fields.get("sizes", ""))
    _check_size(path, _Announced(sizes, voxel, data_file, factor, factor > 1), len(head))
    _check_spacing(path, fields.get("spacings", ""), "spacings")
    real_axes = sum(n > 1 for n in sizes)
    if real_axes >= 3 and fields.get("space", "").lower() not in _NRRD_SPACES:
        raise InputError(
            f"{path} does not say how it is oriented (no anatomical space in its header), and "
            "programs guess differently; export it with its orientation."
        )


def check_meta(path: Path) -> None:
    """Refuse a MetaImage file (``.mha``, ``.mhd``) whose header cannot be trusted.

    Raises
    ------
    InputError
        If it is no MetaImage, announces more than it holds, or has a spacing that is not positive.
    """
    start = _start_of(path)
    position = start.find(b"ElementDataFile")
    if position < 0 or b"DimSize" not in start[:position]:
        raise InputError(f"{path} is not a MetaImage (MHA); check what kind of file it is.")
    end = start.find(b"\n", position)
    head = start[: end if end >= 0 else len(start)]
    fields = _fields(head, "=")
    compressed = fields.get("compresseddata", "").lower() == "true"
    channels = _whole_numbers(path, fields.get("elementnumberofchannels", "1"))[0]
    voxel = _META_BYTES.get(fields.get("elementtype", ""), 1) * channels
    factor = float(LARGEST_DEFLATE_RATIO) if compressed else 1.0
    if fields.get("binarydata", "true").lower() == "false":
        factor = float(voxel)
    data_file = fields["elementdatafile"]
    sizes = _whole_numbers(path, fields["dimsize"])
    name = None if data_file.upper() == "LOCAL" else data_file
    _check_size(path, _Announced(sizes, voxel, name, factor, compressed), len(head))
    for key in ("elementspacing", "elementsize"):
        _check_spacing(path, fields.get(key, ""), "ElementSpacing")


def _start_of(path: Path) -> bytes:
    with path.open("rb") as handle:
        return handle.read(_LONGEST_HEADER)


def _fields(head: bytes, separator: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    for line in head.decode("latin-1").splitlines():
        key, found, value = line.partition(separator)
        if found and not line.startswith("#"):
            fields[key.strip().lower()] = value.strip()
    return fields


def _whole_numbers(path: Path, text: str) -> list[int]:
    try:
        numbers = [int(word) for word in text.split()]
    except ValueError:
        numbers = []
    if not numbers or min(numbers) < 1:
        raise damaged(path, f"its header gives the size '{text}'")
    return numbers


def _check_size(path: Path, announced: _Announced, header_bytes: int) -> None:
    total = math.prod(announced.sizes) * announced.voxel_bytes
    if announced.data_file is None:
        available = path.stat().st_size - header_bytes
    else:
        name = announced.data_file
        if name.upper().startswith("LIST") or "%" in name:
            # Several data files: what they hold together is found out while reading.
            check_announced_size(path, total, total, False)
            return
        beside = path.parent / name
        if not beside.is_file():
            raise InputError(
                f"{path} keeps its voxels in {name}, which is missing; put it beside it."
            )
        available = beside.stat().st_size
    if announced.compressed:
        # The shared check knows deflate; other ratios are brought to its scale.
        available = math.ceil(available * announced.factor / LARGEST_DEFLATE_RATIO)
    elif announced.factor > 1:
        available = int(available * announced.factor)
    check_announced_size(path, total, available, announced.compressed)


def _check_spacing(path: Path, text: str, field: str) -> None:
    for word in text.split():
        try:
            value = float(word)
        except ValueError:
            value = math.nan
        if not value > 0 or math.isinf(value):
            raise InputError(
                f"{path} has the spacing '{text}' in its header ({field}); every value has to be a "
                "positive number of millimetres, correct it and try again."
            )
