"""Arrays through files: mapped, private, gone at the end."""

from __future__ import annotations

import gc
import os
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from napari_gemini.engine import arrays
from napari_gemini.engine.arrays import ArrayExchange
from napari_gemini.errors import EngineError
from tests.engine.helpers import environment


@pytest.mark.parametrize(
    "array",
    [
        np.arange(24, dtype=np.uint16).reshape(2, 3, 4),
        np.asfortranarray(np.random.default_rng(0).normal(size=(5, 3))),
        np.float32(3.0) * np.ones(()),
        np.arange(10)[::2],
    ],
)
def test_arrays_come_back_mapped(array: np.ndarray) -> None:
    exchange = ArrayExchange()
    ref = exchange.put(array)
    back = exchange.open(ref.model_dump())
    assert isinstance(back, np.memmap) or back.ndim == 0
    assert back.dtype == array.dtype
    np.testing.assert_array_equal(back, array)
    if back.ndim:
        with pytest.raises(ValueError, match="read-only"):
            back[0] = 1
    exchange.discard(ref)
    with pytest.raises(EngineError, match="ask the engine again"):
        exchange.open(ref)
    exchange.close()
    assert not exchange.folder.exists()
    exchange.close()


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_the_folder_is_private() -> None:
    exchange = ArrayExchange()
    assert stat.S_IMODE(exchange.folder.stat().st_mode) == 0o700
    exchange.close()


def test_it_goes_with_its_object_and_with_the_interpreter() -> None:
    exchange = ArrayExchange()
    folder = exchange.folder
    del exchange
    gc.collect()
    assert not folder.exists()
    code = (
        "from napari_gemini.engine.arrays import exchange; import numpy as np; "
        "print(exchange().put(np.ones(3)).npy)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment()
    )
    assert not Path(run.stdout.strip()).exists()


def test_foreign_changed_and_object_arrays_are_refused(tmp_path: Path) -> None:
    exchange = ArrayExchange()
    ref = exchange.put(np.zeros(3))
    foreign = ref.model_copy(update={"npy": str(tmp_path / "x.npy")})
    with pytest.raises(EngineError, match="no array of this engine"):
        exchange.open(foreign)
    with pytest.raises(EngineError, match="no array of this engine"):
        exchange.discard(foreign)
    np.save(ref.npy, np.zeros(4))
    with pytest.raises(EngineError, match="has changed"):
        exchange.open(ref)
    Path(ref.npy).write_bytes(b"nonsense")
    with pytest.raises(EngineError, match="cannot be opened"):
        exchange.open(ref)
    with pytest.raises(TypeError):
        exchange.put(np.array([object()]))
    exchange.close()


def test_no_room_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = ArrayExchange(tmp_path / "missing")
    with pytest.raises(EngineError, match="set TMPDIR"):
        gone.put(np.zeros(3))
    gone.close()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
    with pytest.raises(EngineError, match="set TMPDIR"):
        ArrayExchange()


def test_a_child_uses_the_clients_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrays, "_current", None)
    used = arrays.use_exchange(tmp_path / "shared")
    used.folder.mkdir()
    assert arrays.exchange() is used
    used.close()
    assert used.folder.exists()
    used.remove()
    assert not used.folder.exists()
