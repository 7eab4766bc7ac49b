"""The images of a study: where they are, and how each lies on the study grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from napari_gemini.errors import StudyError
from napari_gemini.study.files import relative_path
from napari_gemini.study.folder import StudyFolder
from napari_gemini.study.naming import absolute, by_case, find_images
from napari_gemini.study.placements import PlacementCache, image_stamp
from napari_gemini.volumes.grid import Placement, place_by_affine, place_by_center_of_mass
from napari_gemini.volumes.reading import read_volume
from napari_gemini.volumes.volume import Volume


class StudyImages(StudyFolder):
    """Images and placements of a study; see :class:`napari_gemini.study.study.Study`."""

    def __init__(self, folder: str | Path) -> None:
        super().__init__(folder)
        self._placements = PlacementCache(self.folder)
        self._outlines: dict[tuple[str, str], Volume] = {}

    def image_path(self, case_id: str) -> Path:
        """Return where the image of a case is.

        Raises
        ------
        StudyError
            If it is no longer there.
        """
        case = self._case(case_id)
        if case.relative is not None:
            near = absolute(self.folder / case.relative)
            if near.exists():
                return near
        if Path(case.image).exists():
            return Path(case.image)
        raise StudyError(
            f"The image of the case {case_id} is no longer at {case.image}: put it back, or keep "
            "study and images in the same places relative to each other."
        )

    def load_image(self, case_id: str) -> Volume:
        """Read the image of a case.

        Raises
        ------
        StudyError
            If it is gone or is not the image that the study was made with.
        InputError
            If the file cannot be read.
        """
        path = self.image_path(case_id)
        image = read_volume(path, volume_index=self._case(case_id).volume_index)
        self._check_shape(case_id, image)
        return image

    def _check_shape(self, case_id: str, image: Volume) -> None:
        expected = self._case(case_id).shape
        if image.shape != expected:
            raise StudyError(
                f"The image of the case {case_id} has the size {image.shape} and had {expected} "
                f"when the study was made: put the old {self.image_path(case_id).name} back or "
                "make a new study."
            )

    def outline(self, case_id: str) -> Volume:
        """Return the image of a case without its voxels: grid, header and a view of one zero.

        Everything that only needs to know where voxels lie uses this; the file is read once.
        """
        key = (case_id, image_stamp(self.image_path(case_id)))
        if key not in self._outlines:
            image = self.load_image(case_id)
            self._outlines[key] = image.with_data(np.broadcast_to(np.uint8(0), image.shape))
        return self._outlines[key]

    def remember_image(self, case_id: str, image: Volume) -> None:
        """Take the grid of an image that was read elsewhere, so that it is not read again here.

        Raises
        ------
        StudyError
            If it is not the image that the study was made with.
        """
        self._check_shape(case_id, image)
        key = (case_id, image_stamp(self.image_path(case_id)))
        self._outlines[key] = image.with_data(np.broadcast_to(np.uint8(0), image.shape))

    def placement(self, case_id: str) -> Placement:
        """Return how a case lies in the study; worked out once and kept."""
        return self.placements([case_id])[case_id]

    def placements(self, case_ids: Sequence[str] | None = None) -> dict[str, Placement]:
        """Return how cases (all by default) lie in the study."""
        wanted = [case.id for case in self._file.cases] if case_ids is None else list(case_ids)
        stamps = {name: image_stamp(self.image_path(name)) for name in wanted}
        result = {}
        new: dict[tuple[str, str], Placement] = {}
        reference: tuple[str, Volume] | None = None
        for name in wanted:
            known = self._placements.get(name, stamps[name])
            if known is None:
                if self._file.align == "affine" and reference is None:
                    first = self._reference_case()
                    reference = (first, self.load_image(first))
                known = self._place(name, reference)
                new[name, stamps[name]] = known
            result[name] = known
        if new:
            self._placements.put(new)
        return result

    def place(self, image: Volume) -> Placement:
        """Return how a scan that is not in the study would lie in it."""
        if self._file.align == "center":
            return place_by_center_of_mass(image, self.grid)
        return place_by_affine(image, self.load_image(self._reference_case()), self.grid)

    def _place(self, case_id: str, reference: tuple[str, Volume] | None) -> Placement:
        if reference is None:
            return place_by_center_of_mass(self.load_image(case_id), self.grid)
        if reference[0] == case_id:
            return place_by_center_of_mass(reference[1], self.grid)
        return place_by_affine(self.load_image(case_id), reference[1], self.grid)

    def _reference_case(self) -> str:
        """Return the case that others are aligned to, which stays the same when roles change."""
        return self._file.reference or self._file.cases[0].id

    def relocate_images(self, sources: Sequence[str | Path]) -> list[str]:
        """Find images that were moved, by their names, in files, patterns or folders.

        Returns
        -------
        list of str
            Ids of the cases whose image was found.
        """
        return self.move_images(self.find_moved(sources))

    def find_moved(self, sources: Sequence[str | Path]) -> dict[str, Path]:
        """Look for the images of this study, by name and size, without changing anything.

        Returns
        -------
        dict
            Where the image of each case found is.
        """
        candidates = by_case(find_images(sources), "images")
        found = {}
        for case in self._file.cases:
            path = candidates.get(case.id)
            if path is None:
                continue
            if read_volume(path, volume_index=case.volume_index).shape == case.shape:
                found[case.id] = path
        return found

    def move_images(self, images: Mapping[str, Path]) -> list[str]:
        """Note where images lie now, as :meth:`find_moved` found them; return the cases."""
        with self._writing():
            for case_id, path in images.items():
                self._edit_case(
                    self._case(case_id).id,
                    image=str(path),
                    relative=relative_path(path, self.folder),
                )
        return list(images)
