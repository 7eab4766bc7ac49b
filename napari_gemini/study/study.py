"""A study on disk: the one object through which everybody reads and writes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from napari_gemini.progress import Reporter
from napari_gemini.study import landmarks as landmark_files
from napari_gemini.study import review as review_files
from napari_gemini.study.annotation import StudyLabels
from napari_gemini.study.creation import create_study
from napari_gemini.study.files import Align
from napari_gemini.study.naming import check_name
from napari_gemini.study.scheme import LabelScheme


class Study(StudyLabels):
    """A folder with ``study.json``, labels, runs and predictions.

    Everybody may read. Whoever writes holds ``study.lock``: a window for as long as it is open
    (``with study.lock(): ...``), anything else for the moment of the write, which it does by
    itself.

    Parameters
    ----------
    folder
        An existing study.

    Raises
    ------
    StudyError
        If the folder is no study, is damaged, or a newer version wrote it.
    """

    @classmethod
    def open(cls, folder: str | Path) -> Study:
        """Open a study; the same as ``Study(folder)``."""
        return cls(folder)

    @classmethod
    def create(
        cls,
        folder: str | Path,
        images: Sequence[str | Path],
        labels_dir: str | Path | None = None,
        split: str | Path | None = None,
        seed: str | None = None,
        scheme: LabelScheme | None = None,
        spacing: float | None = None,
        align: Align = "center",
        all_labels: bool = False,
        volume_indices: Mapping[str, int] | None = None,
        groups: Mapping[str, str] | None = None,
        reporter: Reporter | None = None,
    ) -> Study:
        """Make a study; nothing appears unless everything is in order.

        Parameters
        ----------
        folder
            A folder that does not exist yet, or is empty.
        images
            Files, patterns or folders. Images stay where they are.
        labels_dir
            Folder of label maps named like the images.
        split
            JSON file that says which cases are labelled, which may be used and which are for the
            final score. Without it, cases that have labels are labelled.
        seed
            Which labelled cases of the split to take; the first when not given.
        scheme
            The labels; taken from the split or from the values found when not given.
        spacing
            Spacing of the study grid in mm.
        align
            How scans reach the grid: ``center`` (of mass) or ``affine`` (to the first labelled).
        all_labels
            Copy the labels of every case of the pool, to train with full supervision. Labels of
            test cases are never copied.
        volume_indices
            Which volume of its 4D file a case is, by case id.
        groups
            What scans that may be paired share (view, sex, region), by case id.
        reporter
            Hears which image is read, and may stop it.

        Returns
        -------
        Study
            The new study, open.

        Raises
        ------
        InputError
            If anything about the input is wrong; nothing is left behind then.
        """
        return cls(
            create_study(
                Path(folder),
                images,
                labels_dir=None if labels_dir is None else Path(labels_dir),
                split=None if split is None else Path(split),
                seed=seed,
                scheme=scheme,
                spacing=spacing,
                align=align,
                all_labels=all_labels,
                volume_indices=volume_indices,
                groups=groups,
                reporter=reporter,
            )
        )

    def review(self) -> list[review_files.ReviewRow]:
        """Return all verdicts, oldest first."""
        return review_files.read_review(self.folder / "review.csv")

    def add_review(
        self,
        case_id: str,
        verdict: review_files.Verdict,
        comment: str = "",
        who: str | None = None,
        source: str = "",
    ) -> None:
        """Add a verdict on a case, or on one of its results (see :class:`.review.ReviewRow`)."""
        row = review_files.new_row(self._case(case_id).id, verdict, comment, who, source)
        with self._writing():
            review_files.write_review(self.folder / "review.csv", [*self.review(), row])

    def landmarks(self, a: str, b: str) -> list[landmark_files.LandmarkPair]:
        """Return the landmarks set in two cases; either order finds them."""
        pairs = landmark_files.read_landmarks(self._landmarks_path(a, b))
        if pairs:
            return pairs
        return landmark_files.swapped(landmark_files.read_landmarks(self._landmarks_path(b, a)))

    def save_landmarks(self, a: str, b: str, pairs: list[landmark_files.LandmarkPair]) -> Path:
        """Write the landmarks of two cases and return the file."""
        path = self._landmarks_path(a, b)
        other = self._landmarks_path(b, a)
        if other.is_file() and not path.is_file():
            path, pairs = other, landmark_files.swapped(pairs)
        with self._writing():
            path.parent.mkdir(exist_ok=True)
            landmark_files.write_landmarks(path, pairs)
        return path

    def _landmarks_path(self, a: str, b: str) -> Path:
        return self.folder / "landmarks" / f"{self._case(a).id}__{self._case(b).id}.csv"

    @property
    def runs_dir(self) -> Path:
        """Folder of the training runs."""
        return self.folder / "runs"

    def run_dir(self, run: str) -> Path:
        """Return the folder of one run (which may not exist yet)."""
        return self.runs_dir / check_name(run, "run")

    def predictions_dir(self, run: str) -> Path:
        """Return the folder with the predictions of one run (which may not exist yet)."""
        return self.folder / "predictions" / check_name(run, "run")

    def prediction_path(self, run: str, case_id: str) -> Path:
        """Return the file of one prediction (which may not exist yet)."""
        case = self._case(case_id)
        return self.predictions_dir(run) / f"{case.id}{case.label_suffix}"
