"""Events, jobs, requests and plain values: what is read back is what was said."""

from __future__ import annotations

import json
import math
from enum import Enum
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_gemini.engine import events, jobs
from napari_gemini.engine.plain import to_plain
from napari_gemini.engine.requests import CancelRequest, SubmitRequest, parse_request
from napari_gemini.errors import EngineError, InputError
from napari_gemini.settings import TrainSettings

MEAN = {
    "train": {"study": "s"},
    "predict": {"model": "m", "study": "s"},
    "correspond": {"moving": "a", "fixed": "b", "out": "o"},
    "propagate": {"atlas": "a", "labels": "l", "targets": ["t"], "out": "o"},
    "embed": {"image": "a", "out": "o"},
    "explore": {"image": "a"},
    "cluster-map": {
        "image": "a",
        **{
            key: {"npy": "a.npy", "shape": [2], "dtype": "int64"}
            for key in ("image_number", "index", "cluster")
        },
    },
    "probe": {"fixed": "a", "moving": "b"},
    "evaluate": {"predictions": "p", "references": "r", "out": "o"},
    "preview": {"study": "s", "case": "c", "model": "m"},
    "load-pair": {"folder": "o"},
    "load-volume": {"path": "a"},
    "new-study": {"folder": "s", "images": ["a", "b"]},
    "find-images": {"study": "s", "sources": ["a"]},
    "next-case": {"study": "s"},
    "ping": {},
}


class Colour(Enum):
    RED = "red"


def test_plain_values() -> None:
    value = {
        Path("/a"): np.float32(1.5),
        "array": np.arange(3),
        "set": {1},
        "nan": [math.nan, math.inf],
        "colour": Colour.RED,
        "bool": np.bool_(True),
        "model": jobs.PingJob(echo="x"),
        "object": ValueError("x"),
        "none": None,
    }
    plain = to_plain(value)
    assert plain == {
        "/a": 1.5,
        "array": [0, 1, 2],
        "set": [1],
        "nan": [None, None],
        "colour": "red",
        "bool": True,
        "model": {"kind": "ping", "echo": "x", "devices": False},
        "object": "x",
        "none": None,
    }
    json.dumps(plain, allow_nan=False)


anything = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), anything, max_size=3), st.text())
@settings(max_examples=60, deadline=None, derandomize=True)
def test_any_payload_is_one_line_and_comes_back(payload: dict[str, object], name: str) -> None:
    event = events.NoticeEvent(job="j", name=name, payload=payload)
    line = events.format_event(event)
    assert "\n" not in line
    assert events.parse_event(line) == event


def test_progress_without_a_number_says_null() -> None:
    event = events.ProgressEvent(done=1, total=2, values={"loss": math.nan}, remaining=math.inf)
    assert json.loads(events.format_event(event))["values"] == {"loss": None}
    again = events.parse_event(events.format_event(event))
    assert isinstance(again, events.ProgressEvent)
    assert again.remaining is None


def test_newer_keys_are_ignored_and_nonsense_is_refused() -> None:
    event = events.parse_event('{"event": "log", "message": "x", "colour": "red"}')
    assert isinstance(event, events.LogEvent)
    for line in ("", "{", "[]", '{"event": "dance"}', '{"event": "log"}', b"\xff\xfe"):
        with pytest.raises(EngineError, match="same version"):
            events.parse_event(line)


def test_every_job_is_tested() -> None:
    assert {kind for kind in jobs.job_kinds() if not kind.startswith("test-")} == set(MEAN)


@pytest.mark.parametrize("kind", sorted(MEAN))
def test_every_job_travels_as_json(kind: str) -> None:
    job = jobs.parse_job({"kind": kind, **MEAN[kind]})
    assert jobs.parse_job(json.loads(job.model_dump_json())) == job
    assert job.memory_advice


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ("text", "There is no job None"),
        ({"kind": "dance"}, "There is no job 'dance'; choose one of cluster-map, correspond"),
        ({"kind": "train"}, "'study' of train"),
        ({"kind": "train", "study": "s", "run": "../x"}, "'run' of train"),
        ({"kind": "train", "study": "s", "run": ".."}, "'run' of train"),
        ({"kind": "train", "study": "s", "settings": {"steps": 0}}, "'settings.steps' of train"),
        ({"kind": "train", "study": "s", "typo": 1}, "'typo' of train"),
        ({"kind": "train", "study": "s", "device": "tpu"}, "'device' of train"),
        ({"kind": "predict", "model": "m"}, "either a study or images"),
        ({"kind": "predict", "model": "m", "images": ["a"]}, r"folder for the results \(--out\)"),
        ({"kind": "propagate", "atlas": "a", "labels": "l", "targets": [], "out": "o"}, "targets"),
    ],
)
def test_a_wrong_job_is_one_sentence(data: object, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence) as caught:
        jobs.parse_job(data)
    assert str(caught.value).endswith(".")
    assert "\n" not in str(caught.value)


def test_paths_are_absolute_and_model_names_stay(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    job = jobs.make_job(jobs.CorrespondJob, moving="a", fixed="../b", out="o", model="none")
    assert (job.moving, job.fixed) == (tmp_path / "a", tmp_path.parent / "b")
    assert job.model == "none"
    assert job.refine is None
    spec = jobs.make_job(jobs.PredictJob, model="./runs/x", study="s").model
    assert spec == str(tmp_path / "runs" / "x")


def test_frozen_backbone_reaches_the_settings() -> None:
    shared = TrainSettings()
    job = jobs.make_job(jobs.TrainJob, study="s", freeze_backbone=True, settings=shared)
    assert job.settings.freeze_backbone
    assert not shared.freeze_backbone


def test_a_kind_belongs_to_one_class() -> None:
    class Other(jobs.Job):
        kind: str = "ping"

    with pytest.raises(ValueError, match="taken by PingJob"):
        jobs.register_job(Other)


def test_requests() -> None:
    request = SubmitRequest(id="1", job={"kind": "ping"})
    assert parse_request(request.model_dump_json()) == request
    assert parse_request('{"request": "cancel"}') == CancelRequest()
    for line in ("", "{}", '{"request": "submit", "id": "", "job": {}}', '{"request": "x"}'):
        with pytest.raises(EngineError, match="engine-messages"):
            parse_request(line)
