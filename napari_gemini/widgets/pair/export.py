"""Copy the results of a pair elsewhere, whole or not at all."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from napari_gemini.errors import InputError
from napari_gemini.volumes.atomic import explain_write_error
from napari_gemini.widgets.pair.pair_data import PairData


def export_pair(pair: PairData, parent: Path) -> Path:
    """Copy a pair's folder into `parent`, under a name that says what it is.

    Parameters
    ----------
    pair
        The pair; its files of both directions are copied where there are two.
    parent
        An existing folder.

    Returns
    -------
    Path
        The new folder ``<moving>_to_<fixed>``.

    Raises
    ------
    InputError
        If the results are gone, or the name is taken: nothing is replaced.
    EngineError
        If the disk is full; nothing is left behind then.
    """
    if pair.folder is None or not pair.folder.is_dir():
        raise InputError("The results of this pair are no longer on disk; compute it again.")
    final = parent / f"{pair.moving_name}_to_{pair.fixed_name}"
    if final.exists():
        raise InputError(f"{final} exists already; choose another folder.")
    temporary: Path | None = None
    try:
        temporary = Path(tempfile.mkdtemp(prefix=f".{final.name}.", dir=parent))
        shutil.copytree(pair.folder, temporary / "copy")
        (temporary / "copy").rename(final)
    except OSError as error:
        raise explain_write_error(error, final) from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
    return final
