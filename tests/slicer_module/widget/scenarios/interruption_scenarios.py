"""What may come in the way of a propagation: cancel, a closed scene, deleted nodes, leaving."""

from __future__ import annotations

from tests.slicer_module.standin.properties import use_properties
from tests.slicer_module.widget.fixtures import Bench, alive

use_properties(__name__)


def test_cancel_ends_the_process_tree(bench: Bench) -> None:
    bench.choose(2, refine=10_000)
    bench.apply()
    pid = bench.engine_pid
    bench.wait(lambda: bench.ui.progressBar.value > 0, "progress", 60)
    bench.ui.cancelButton.click()
    bench.finish(30)
    assert not alive(pid)
    assert bench.ui.progressLabel.text == "Cancelled"
    assert [row[4] for row in bench.rows] == ["cancelled: Cancelled"] * 2
    assert bench.ui.applyButton.enabled
    assert not bench.ui.cancelButton.enabled


def test_scene_closed_under_a_run(bench: Bench) -> None:
    bench.choose(1, refine=10_000)
    bench.apply()
    pid = bench.engine_pid
    bench.wait(lambda: bench.ui.progressBar.value > 0, "progress", 60)
    bench.scene.Clear(False)
    bench.finish(30)
    assert not alive(pid)
    assert bench.rows == []
    assert bench.ui.qualityTargetLabel.text == "none yet"
    assert not bench.ui.applyButton.enabled
    bench.choose(1)
    assert bench.ui.applyButton.enabled
    assert "unexpected" not in bench.banner


def test_a_deleted_target_and_a_deleted_atlas(bench: Bench) -> None:
    first, second = bench.choose(2)
    bench.apply()
    bench.scene.RemoveNode(first)
    bench.scene.RemoveNode(bench.parameters.atlasVolume)
    bench.finish()
    assert bench.panel.quality.nodes.target is second
    assert "Patient 1 was removed" in bench.log
    assert bench.banner == ""


def test_leaving_the_module_does_not_end_a_run(bench: Bench) -> None:
    bench.choose(1)
    bench.apply()
    bench.widget.exit()
    before = bench.background(), bench.foreground()
    bench.finish()
    # Whoever works in another module keeps his views.
    assert (bench.background(), bench.foreground()) == before
    bench.widget.enter()
    assert bench.rows[0][4].startswith("done")


def test_unloading_the_module_ends_a_run(bench: Bench) -> None:
    bench.choose(1, refine=10_000)
    bench.apply()
    pid = bench.engine_pid
    bench.wait(lambda: bench.ui.progressBar.value > 0, "progress", 60)
    bench.widget.cleanup()
    bench.wait(lambda: not alive(pid), "the end of the engine", 10)
