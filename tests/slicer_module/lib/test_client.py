"""The client against the real engine: what it says, what it survives, what it leaves behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from GeminiPropagateLib.client import EngineClient
from GeminiPropagateLib.errors import PropagateError
from GeminiPropagateLib.jobs import (
    AtlasFiles,
    PropagateOptions,
    TargetFile,
    ping_job,
    predict_job,
    propagate_job,
)

from tests.slicer_module.lib.helpers import (
    FINAL,
    REPOSITORY,
    check_message,
    environment,
    events_until,
    launcher,
    outcome,
    processes_with,
    script,
    wait_until,
)

LIBRARY = REPOSITORY / "slicer_module" / "GeminiPropagate"


@pytest.fixture
def client() -> Iterator[EngineClient]:
    made = EngineClient(sys.executable, environment())
    yield made
    made.close()


def long_job(atlas: AtlasFiles, target: TargetFile, out: Path) -> dict[str, object]:
    options = PropagateOptions(model="none", device="cpu", refine=1_000_000)
    return propagate_job(atlas, target, out, options)


def test_the_library_speaks_to_the_engine_with_the_standard_library_alone() -> None:
    modules = "client command_run errors jobs labels processes sentences session training_run"
    code = f"import sys; sys.path.insert(0, {str(LIBRARY)!r})\n" + "\n".join(
        f"import GeminiPropagateLib.{name}" for name in modules.split()
    )
    # -S: no site-packages, so anything that is not of the standard library fails.
    subprocess.run([sys.executable, "-I", "-S", "-c", code], check=True)


@pytest.mark.parametrize(
    "job",
    [
        ping_job(),
        predict_job(Path("/m"), [Path("/a.nii.gz")], Path("/out")),
        predict_job(Path("/m"), [], Path("/out"), study=Path("/s"), device="cuda:1"),
        propagate_job(
            AtlasFiles("a", "A", Path("/a.nrrd"), Path("/l.nrrd")),
            TargetFile("t", "T", Path("/t.nrrd")),
            Path("/out"),
            PropagateOptions("none", "cpu", 3, 1.5),
        ),
    ],
)
def test_jobs_fit_the_schema_that_the_engine_publishes(job: dict[str, object]) -> None:
    check_message(job, "Job")


def test_every_message_fits_the_schema_in_both_directions(tmp_path: Path) -> None:
    said = tmp_path / "requests.jsonl"
    python = launcher(tmp_path, pipe=f'tee "{said}" | ')
    client = EngineClient(python, environment())
    job = client.submit(ping_job())
    events = events_until(client, lambda event: event["event"] == "result")
    client.cancel(job)
    client.close()
    for event in events:
        check_message(event, "Event")
    requests = [json.loads(line) for line in said.read_text().splitlines()]
    for request in requests:
        check_message(request, "Request")
    assert requests[0]["request"] == "submit"
    assert {event["event"] for event in events} >= {"ready", "started", "result"}


def test_garbage_on_the_stream_becomes_messages_of_the_log(tmp_path: Path) -> None:
    garbage = r"printf 'Switching to module\n\377\376 not text\n[1, 2]\n{\"half\": \n'"
    client = EngineClient(launcher(tmp_path, before=garbage), environment())
    job = client.submit(ping_job())
    events = events_until(client, lambda e: e["event"] == "result" and e["job"] == job)
    client.close()
    texts = [event["message"] for event in events if event["event"] == "log"]
    assert texts[0] == "Switching to module"
    assert len(texts) == 4
    for event in events:
        check_message(event, "Event")


def test_a_job_is_stopped_politely_and_the_child_stays(
    client: EngineClient, atlas: AtlasFiles, targets: list[TargetFile], tmp_path: Path
) -> None:
    job = client.submit(long_job(atlas, targets[0], tmp_path))
    events_until(client, lambda event: event["event"] == "progress")
    client.cancel(job, kill_after=60.0)
    assert outcome(client, job)["event"] == "cancelled"
    assert client.running
    assert outcome(client, client.submit(ping_job()))["event"] == "result"


def test_a_job_that_does_not_stop_is_killed_with_the_whole_tree(
    atlas: AtlasFiles, targets: list[TargetFile], tmp_path: Path
) -> None:
    mark = f"GEMINI_TEST_{uuid.uuid4().hex}"
    client = EngineClient(launcher(tmp_path), {**environment(), mark: "1"})
    job = client.submit(long_job(atlas, targets[0], tmp_path / "out"))
    events_until(client, lambda event: event["event"] == "progress")
    # The launcher and the interpreter that it started.
    found = processes_with(mark)
    assert len(found) >= 2
    for pid in found:
        # Stopped, so that asking cannot help.
        os.kill(pid, signal.SIGSTOP)
    client.cancel(job, kill_after=0.2)
    final = outcome(client, job)
    assert final["event"] == "cancelled"
    assert final["killed"]
    wait_until(lambda: not processes_with(mark))


def test_a_child_that_is_killed_ends_its_job_with_a_sentence_and_the_next_job_works(
    client: EngineClient, atlas: AtlasFiles, targets: list[TargetFile], tmp_path: Path
) -> None:
    job = client.submit(long_job(atlas, targets[0], tmp_path))
    events_until(client, lambda event: event["event"] == "progress")
    assert client.pid is not None
    os.kill(client.pid, signal.SIGKILL)
    final = outcome(client, job)
    assert final["event"] == "error"
    assert "memory ran out" in final["message"]
    assert "grid spacing" in final["message"]
    assert outcome(client, client.submit(ping_job()))["event"] == "result"


def test_a_job_submitted_right_after_a_crash_costs_the_lost_one_no_word(
    client: EngineClient,
) -> None:
    lost = client.submit(ping_job(devices=True))
    events_until(client, lambda event: event["event"] == "ready")
    assert client._child is not None
    client._child.kill()
    client._child.process.wait()
    later = client.submit(ping_job())
    events = events_until(client, lambda e: e["event"] in FINAL and e.get("job") == later)
    ends = {event["job"]: event["event"] for event in events if event["event"] in FINAL}
    assert ends == {lost: "error", later: "result"}


def test_a_python_without_the_package_is_said_in_one_sentence(tmp_path: Path) -> None:
    bare = script(tmp_path / "bare", f'exec "{sys.executable}" -S "$@"\n')
    variables = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    client = EngineClient(bare, variables)
    final = outcome(client, client.submit(ping_job()))
    assert final["kind"] == "MissingEngineError"
    assert "has no napari-gemini" in final["message"]
    assert "\n" not in final["message"]


def test_an_engine_of_another_protocol_is_refused(tmp_path: Path) -> None:
    ready = '{"event": "ready", "protocol": 99, "version": "9.0"}'
    client = EngineClient(script(tmp_path / "new", f"echo '{ready}'\nexec sleep 60\n"))
    final = outcome(client, client.submit(ping_job()))
    assert "9.0" in final["message"]
    assert not client.running


def test_a_program_that_is_no_engine_ends_with_a_sentence(tmp_path: Path) -> None:
    client = EngineClient("/bin/true")
    assert outcome(client, client.submit(ping_job()))["event"] == "error"


def test_an_interpreter_that_does_not_exist_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(PropagateError, match="cannot be started"):
        EngineClient(str(tmp_path / "nothing")).submit(ping_job())


def test_a_client_that_is_dropped_or_whose_program_dies_leaves_no_child(tmp_path: Path) -> None:
    mark = f"GEMINI_TEST_{uuid.uuid4().hex}"
    code = f"""
        import sys, os, time
        sys.path.insert(0, {str(LIBRARY)!r})
        from GeminiPropagateLib.client import EngineClient
        client = EngineClient(sys.executable)
        client.submit({{"kind": "ping"}})
        while not any(event["event"] == "result" for event in client.poll()):
            time.sleep(0.05)
        os._exit(1)
    """
    variables = {**environment(), mark: "1"}
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], env=variables, check=False)
    wait_until(lambda: not processes_with(mark))


def test_polling_does_not_wait_for_an_answer(client: EngineClient) -> None:
    job = client.submit(ping_job(devices=True))
    # To list devices the child imports torch, long after these calls have returned.
    early = [event for _ in range(20) for event in client.poll()]
    assert not [event for event in early if event["event"] == "result"]
    assert "devices" in outcome(client, job)["values"]


def test_closing_ends_the_child_and_removes_its_log(client: EngineClient) -> None:
    outcome(client, client.submit(ping_job()))
    child = client._child
    assert child is not None
    assert child.log.exists()
    client.close()
    assert not client.running
    assert not child.log.exists()
    assert child.process.poll() is not None
