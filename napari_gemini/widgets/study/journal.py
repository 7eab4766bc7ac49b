"""What a window notes while a study is open, so that the next one knows after a crash."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from napari_gemini.errors import GeminiError
from napari_gemini.study.study import Study
from napari_gemini.volumes.atomic import write_json_atomic

FILE = ".open.json"


@dataclass(frozen=True)
class LeftOpen:
    """A case that was shown when a window ended without closing its study.

    Parameters
    ----------
    case
        Its id.
    since
        When it was shown.
    saved
        When its labels were last written; None where there are none.
    """

    case: str
    since: datetime
    saved: datetime | None

    @property
    def sentence(self) -> str:
        """What was there, and what may be missing."""
        if self.saved is None:
            labels = "no labels of it were saved"
        else:
            labels = f"its labels are those of {self.saved:%H:%M:%S on %d %B}"
        return (
            f"The last window ended without closing this study while {self.case} was shown "
            f"(since {self.since:%H:%M}): {labels}; at most the last seconds before the end are "
            "missing."
        )


class Journal:
    """The note in a study's folder of labels; only the study's writer touches it.

    Parameters
    ----------
    study
        The study.
    """

    def __init__(self, study: Study) -> None:
        self._study = study
        self._path: Path = study.folder / "labels" / FILE

    def note(self, case: str) -> None:
        """Note that a case is shown; a note that cannot be written is done without."""
        since = datetime.now().astimezone().isoformat(timespec="seconds")
        with contextlib.suppress(GeminiError):
            write_json_atomic(self._path, {"case": case, "since": since})

    def clear(self) -> None:
        """Take the note away: the study is closed in good order."""
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)

    def left_open(self) -> LeftOpen | None:
        """Return what another window left; None after a good end."""
        try:
            note = json.loads(self._path.read_text(encoding="utf-8"))
            case, since = str(note["case"]), datetime.fromisoformat(note["since"])
            path = self._study.labels_path(case)
        except (OSError, ValueError, KeyError, TypeError, GeminiError):
            return None
        saved = None
        if self._study.has_labels(case):
            saved = datetime.fromtimestamp(path.stat().st_mtime).astimezone()
        return LeftOpen(case, since, saved)
