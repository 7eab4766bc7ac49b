from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from napari_gemini.errors import EngineError, InputError
from napari_gemini.volumes.atomic import (
    atomic_path,
    explain_write_error,
    write_bytes_atomic,
    write_json_atomic,
    write_text_atomic,
)
from napari_gemini.volumes.displacement import DisplacementField
from napari_gemini.volumes.field_files import write_field
from napari_gemini.volumes.volume import Volume
from napari_gemini.volumes.writing import write_labels, write_volume


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def tiny_disk(tmp_path: Path) -> object:
    """A file system of 64 kB, where the test may mount one."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)],
        capture_output=True,
        check=False,
    )
    if done.returncode:
        pytest.skip("mounting a small file system needs root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture
def read_only(tmp_path: Path) -> object:
    """A folder that not even root can write to."""
    folder = tmp_path / "sealed"
    folder.mkdir()
    (folder / "old.json").write_text("{}")
    made = ["mount", "-t", "tmpfs", "-o", "ro,size=64k", "tmpfs", str(folder)]
    mounted = subprocess.run(made, capture_output=True, check=False).returncode == 0
    if not mounted:
        folder.chmod(0o500)
        if os.access(folder, os.W_OK):
            pytest.skip("root without the right to mount")
    yield folder
    if mounted:
        subprocess.run(["umount", str(folder)], check=True)
    else:
        folder.chmod(0o700)


def test_text_bytes_and_json_are_written_whole(tmp_path: Path) -> None:
    write_bytes_atomic(tmp_path / "a", b"\0\1")
    write_text_atomic(tmp_path / "b.txt", "Grüße\n")
    write_json_atomic(tmp_path / "c.json", {"x": [1, "é"]})
    assert (tmp_path / "a").read_bytes() == b"\0\1"
    assert (tmp_path / "b.txt").read_bytes() == "Grüße\n".encode()
    assert json.loads((tmp_path / "c.json").read_text("utf-8")) == {"x": [1, "é"]}
    assert names(tmp_path) == ["a", "b.txt", "c.json"]


def test_json_refuses_nan_and_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    write_json_atomic(path, {"x": 1})
    with pytest.raises(ValueError, match="JSON"):
        write_json_atomic(path, {"x": float("nan")})
    assert json.loads(path.read_text()) == {"x": 1}


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError, SystemExit])
def test_an_interrupted_write_leaves_the_old_file(tmp_path: Path, error: type) -> None:
    path = tmp_path / "a.nii.gz"
    path.write_bytes(b"old")

    def write() -> None:
        with atomic_path(path) as temporary:
            assert temporary.parent == tmp_path
            assert temporary.name.endswith("a.nii.gz")
            temporary.write_bytes(b"new")
            raise error

    with pytest.raises(error):
        write()
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["a.nii.gz"]


def test_nothing_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="could not be written"), atomic_path(tmp_path / "a"):
        pass
    assert names(tmp_path) == []


def test_missing_folder_and_folder_in_the_way(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        write_text_atomic(tmp_path / "no" / "a", "x")
    (tmp_path / "d").mkdir()
    with pytest.raises(InputError, match="is a folder"):
        write_text_atomic(tmp_path / "d", "x")
    assert names(tmp_path) == ["d"]


def test_writers_at_the_same_time_do_not_mix(tmp_path: Path) -> None:
    path = tmp_path / "a"
    contents = [bytes([n]) * 100_000 for n in range(8)]
    threads = [threading.Thread(target=write_bytes_atomic, args=(path, c)) for c in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_bytes() in contents
    assert names(tmp_path) == ["a"]


def test_the_new_file_takes_the_place_of_the_old_at_once(tmp_path: Path) -> None:
    """The old bytes are not written over: whoever has the old file open still has all of it."""
    path = tmp_path / "a"
    path.write_bytes(b"old")
    os.link(path, tmp_path / "other name of the old file")
    with path.open("rb") as reader:
        write_bytes_atomic(path, b"new")
        assert reader.read() == b"old"
    assert path.read_bytes() == b"new"
    assert (tmp_path / "other name of the old file").read_bytes() == b"old"


def test_reasons_are_told_apart(tmp_path: Path) -> None:
    def sentence(code: int) -> str:
        return str(explain_write_error(OSError(code, os.strerror(code)), tmp_path / "a"))

    assert "disk is full" in sentence(errno.ENOSPC)
    assert "read-only" in sentence(errno.EROFS)
    assert "could not be written (Input/output error)" in sentence(errno.EIO)


def test_full_disk_keeps_the_old_file(tiny_disk: Path) -> None:
    path = tiny_disk / "a.bin"
    path.write_bytes(b"old")
    with pytest.raises(EngineError, match="disk is full"):
        write_bytes_atomic(path, bytes(200_000))
    assert path.read_bytes() == b"old"
    assert names(tiny_disk) == ["a.bin"]


@pytest.mark.parametrize("name", ["x.nii", "x.nii.gz", "x.nrrd", "x.mha"])
def test_full_disk_leaves_no_half_image(tiny_disk: Path, name: str) -> None:
    noise = np.random.default_rng(0).normal(size=(40, 40, 40))
    like = Volume(noise, np.diag([1.0, 2, 3, 1]))
    with pytest.raises(EngineError, match="disk is full"):
        write_volume(tiny_disk / name, noise, like)
    labels = np.random.default_rng(0).integers(0, 60_000, (40, 40, 40))
    with pytest.raises(EngineError, match="disk is full"):
        write_labels(tiny_disk / name, labels, like)
    assert names(tiny_disk) == []


@pytest.mark.parametrize("name", ["x.png", "x.tif"])
def test_full_disk_leaves_no_half_picture(tiny_disk: Path, name: str) -> None:
    noise = np.random.default_rng(0).integers(0, 60_000, (300, 300)).astype(np.uint16)
    like = Volume(noise, np.diag([-1.0, -1, 1, 1]), spacing_known=False)
    with pytest.raises(EngineError, match="disk is full"):
        write_volume(tiny_disk / name, noise, like)
    assert names(tiny_disk) == []


@pytest.mark.parametrize("name", ["field.h5", "field.nrrd", "field.nii.gz"])
def test_full_disk_leaves_no_half_field(tiny_disk: Path, name: str) -> None:
    field = DisplacementField(np.random.default_rng(0).normal(size=(3, 20, 20, 20)), np.eye(4))
    with pytest.raises(EngineError, match="disk is full"):
        write_field(tiny_disk / name, field)
    assert names(tiny_disk) == []


def test_read_only_folder_is_said(read_only: Path) -> None:
    with pytest.raises(InputError, match="read-only"):
        write_text_atomic(read_only / "a", "x")
    like = Volume(np.zeros((4, 4, 4)), np.eye(4))
    with pytest.raises(InputError, match="read-only"):
        write_volume(read_only / "a.nii.gz", like.data, like)


def test_file_size_limit_acts_like_a_full_disk(tmp_path: Path) -> None:
    """Works without root: the child may write no file above 4 kB."""
    program = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
from napari_gemini.errors import EngineError
from napari_gemini.volumes.atomic import write_bytes_atomic
try:
    write_bytes_atomic(sys.argv[1], bytes(100_000))
except EngineError as error:
    print(error)
"""
    path = tmp_path / "a"
    path.write_bytes(b"old")
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True
    )
    assert "disk is full" in done.stdout
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["a"]


@pytest.mark.skipif(os.name == "nt", reason="signals of Unix")
def test_a_killed_writer_leaves_the_old_file(tmp_path: Path) -> None:
    program = """
import os, signal, sys
from napari_gemini.volumes.atomic import atomic_path
with atomic_path(sys.argv[1]) as temporary:
    temporary.write_bytes(b"half")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    path = tmp_path / "a"
    path.write_bytes(b"old")
    done = subprocess.run([sys.executable, "-c", program, str(path)], check=False)
    assert done.returncode == -9
    assert path.read_bytes() == b"old"
