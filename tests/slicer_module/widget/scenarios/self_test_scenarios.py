"""The self-test that is written for real Slicer, on the stand-ins with a real engine."""

from __future__ import annotations

import sys

import pytest

from tests.slicer_module.standin.properties import use_properties
from tests.slicer_module.widget.fixtures import Bench

use_properties(__name__)


def test_self_test(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEMINI_ATLAS_PYTHON", sys.executable)
    test = bench.module.GeminiPropagateTest()
    test.runTest()
    assert test.messages[-1] == "Passed"
    assert not any("Left out" in message for message in test.messages)


def test_without_an_engine_it_says_what_was_left_out(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GEMINI_ATLAS_PYTHON", raising=False)
    test = bench.module.GeminiPropagateTest()
    test.runTest()
    assert sum("Left out" in message for message in test.messages) == 2
