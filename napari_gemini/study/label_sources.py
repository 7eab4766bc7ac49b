"""Labels that a user brings along: found by case id, read and checked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_gemini.errors import InputError
from napari_gemini.study.naming import by_case
from napari_gemini.study.scheme import LabelScheme, slug
from napari_gemini.volumes.checks import check_labels_match
from napari_gemini.volumes.reading import read_labels, suffix_of
from napari_gemini.volumes.volume import Volume


class LabelSource:
    """A folder with one label map per case, or one folder of masks per case.

    Parameters
    ----------
    folder
        ``<case>.nii.gz`` (or any format that can be read); for overlapping labels
        ``<case>/<label>.nii.gz`` with the label's name or value.
    overlapping
        The scheme when labels overlap, else None.

    Raises
    ------
    InputError
        If the folder is missing or two files are for one case.
    """

    def __init__(self, folder: Path, overlapping: LabelScheme | None = None) -> None:
        self.folder = folder
        self._scheme = overlapping
        if not folder.is_dir():
            raise InputError(f"The folder of labels {folder} does not exist: check the name.")
        entries = sorted(e for e in folder.iterdir() if not e.name.startswith("."))
        if overlapping is None:
            entries = [e for e in entries if e.is_file() and suffix_of(e)]
        else:
            entries = [e for e in entries if e.is_dir()]
        self._by_case = by_case(entries, "labels")

    def __contains__(self, case: object) -> bool:
        """Whether a case has labels here."""
        return case in self._by_case

    def read(self, case: str, image: Volume) -> Volume:
        """Read a label map and check it against its image.

        Raises
        ------
        InputError
            If it cannot be read or lies on another grid.
        """
        labels = read_labels(self._by_case[case])
        check_labels_match(image, labels)
        return labels

    def read_masks(self, case: str, image: Volume) -> dict[str, NDArray[Any]]:
        """Read the masks of a case of an overlapping scheme.

        Returns
        -------
        dict
            uint8 masks (0 and 1) by file name, one for every label, and ``ignore`` if there.

        Raises
        ------
        InputError
            If a mask is missing, unknown, on another grid, or holds more than two values.
        """
        assert self._scheme is not None
        folder = self._by_case[case]
        wanted = self._scheme.file_names()
        aliases = {str(value): name for value, name in wanted.items()}
        masks: dict[str, NDArray[Any]] = {}
        for path in sorted(folder.iterdir()):
            if not suffix_of(path) or path.name.startswith("."):
                continue
            stem = slug(path.name[: -len(suffix_of(path))])
            name = aliases.get(stem, stem)
            if name == "ignore" and self._scheme.ignore is not None:
                pass
            elif name not in wanted.values():
                raise InputError(
                    f"{path} is no label of the scheme ({', '.join(wanted.values())}): rename it "
                    "or correct the scheme."
                )
            masks[name] = self._mask(path, image)
        for name in wanted.values():
            if name not in masks:
                raise InputError(
                    f"{folder} lacks the mask {name}: add it, empty where there is nothing."
                )
        return masks

    def _mask(self, path: Path, image: Volume) -> NDArray[np.uint8]:
        labels = read_labels(path)
        check_labels_match(image, labels)
        if len(np.unique(labels.data)) > 2:
            raise InputError(f"{path} holds more than two values: give one mask per label.")
        return (labels.data != 0).astype(np.uint8)
