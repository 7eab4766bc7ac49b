"""Make a shipped model from nothing: data, pre-training, measurement, publication, in one command.

    python scripts/train_models.py general-3d --work runs/models
    python scripts/train_models.py hippocampus-t1 --work runs/models --data DIR

The recipe ``models/recipes/NAME.json`` says how. Every stage that is done is skipped and a training
that was stopped goes on, so the same command is simply given again. ``--stages evaluate,publish``
publishes what a training has reached so far; where nothing was trained, ``--stages evaluate``
measures the shipped model.
"""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RECIPES = ROOT / "models" / "recipes"
STAGES = ("data", "pretrain", "evaluate", "publish")
#: Ways of benchmarks/pairs.py in the order of the card, with what they are called there.
WAYS = {
    "none": "without registration",
    "demons": "diffeomorphic demons (SimpleITK)",
    "refinement": "refinement without a model",
    "model": "this model",
    "model+refinement": "this model and refinement",
}


class Workshop:
    """The folder in which one model is made.

    Parameters
    ----------
    name
        Of the model.
    options
        Of the command line.
    """

    def __init__(self, name: str, options: argparse.Namespace) -> None:
        self.name = name
        self.options = options
        self.recipe: dict[str, Any] = json.loads((RECIPES / f"{name}.json").read_text("utf-8"))
        self.folder: Path = options.work.absolute() / name
        self.run_folder = self.folder / "run"
        self.scores = self.folder / "scores.json"

    @property
    def begun(self) -> bool:
        """Whether a training was begun in this folder."""
        return (self.run_folder / "config.json").is_file()

    def data_of(self, stage: dict[str, Any]) -> Path:
        """Return the folder of real data that a stage needs."""
        if self.options.data is None:
            sys.exit(f"{self.name} needs real data: say where with --data DIR (see the recipe).")
        folder: Path = self.options.data.absolute() / stage["folder"]
        if not (folder / "split.json").is_file():
            sys.exit(f"{folder} has no split.json: it is not the data set that the recipe means.")
        return folder

    def data(self) -> Path:
        """Make the study to train on, unless it is there, and return it."""
        stage, study = self.recipe["data"], self.folder / "study"
        if (study / "study.json").is_file():
            return study
        # A folder without study.json was not written to the end.
        shutil.rmtree(study, ignore_errors=True)
        if stage["kind"] == "random":
            words = ["phantom", study, "--random", "--groups", stage["groups"]]
            words += ["--per-group", stage["per_group"], "--size", stage["size"]]
            words += ["--seed", stage["seed"], *(["--2d"] if stage["dimension"] == 2 else [])]
        else:
            words = self._new_study(study, self.data_of(stage), stage)
        gemini(*words)
        return study

    @staticmethod
    def _new_study(study: Path, data: Path, stage: dict[str, Any]) -> list[Any]:
        words = ["study", "new", study, data / "images", "--split", data / "split.json"]
        return words + (["--spacing", stage["spacing"]] if "spacing" in stage else [])

    def pretrain(self) -> None:
        """Train, or go on training, until all steps are done."""
        stage, study = self.recipe["pretrain"], self.data()
        words: list[Any] = ["pretrain", study, "--out", self.run_folder]
        words += ["--device", self.options.device]
        if self.begun:
            done, steps = self._steps()
            if done >= steps:
                print(f"The training is done ({done} steps).", flush=True)
                return
            self._train(*words, "--resume")
            return
        words += ["--objective", stage["objective"], "--preset", stage["preset"]]
        words += ["--steps", self.options.steps or stage["steps"], "--seed", stage["seed"]]
        words += ["--base-width", stage["base_width"]]
        settings = {**stage["set"], **dict(item.split("=", 1) for item in self.options.set)}
        for key, value in settings.items():
            words += ["--set", f"{key}={value}"]
        self._train(*words)

    def _train(self, *words: Any) -> None:
        """Run the training; one that was asked to stop ends everything here."""
        gemini(*words)
        done, steps = self._steps()
        if done < steps:
            sys.exit(f"Stopped at step {done} of {steps}; the same command goes on.")

    def _steps(self) -> tuple[int, int]:
        """Return the steps done and the steps wanted of a run that was begun."""
        config = json.loads((self.run_folder / "config.json").read_text("utf-8"))
        steps = config.get("settings", config.get("job", {}).get("settings", {})).get("steps", 0)
        try:
            done = int(json.loads((self.run_folder / "last.json").read_text())["checkpoint"])
        except (OSError, ValueError, KeyError):
            done = 0
        return done, int(steps)

    def evaluate(self) -> None:
        """Measure the model, or the shipped one without a training, on pairs that it never saw."""
        if self.begun:
            model, scores = self._publish(self.folder / "published", scores=[]), self.scores
        else:
            # The next card is that of a training, so these scores must not come onto it.
            model, scores = self._shipped(), self.folder / "scores-shipped.json"
        stage = self.recipe["evaluate"]
        study, labels = self._test_study(stage)
        command = [ROOT / "benchmarks" / "pairs.py", study, model, labels, "--role", "test"]
        command += ["--pairs", self.options.pairs or stage["pairs"], "--out", scores]
        call(sys.executable, *command)

    def _shipped(self) -> Path:
        """Return the folder of the shipped model."""
        model: Path = self.options.models.absolute() / self.name
        if not (model / "model.json").is_file():
            sys.exit(f"There is neither a run in {self.run_folder} nor a model in {model}.")
        print(f"Nothing was trained in {self.folder}: {model} is measured.", flush=True)
        return model

    def _test_study(self, stage: dict[str, Any]) -> tuple[Path, Path]:
        """Return the study of the test and the folder of its reference labels."""
        if stage["kind"] == "study":
            return self.data(), self.data_of(stage) / "labels"
        cohort = self.folder / "phantom"
        if not (cohort / "split.json").is_file():
            shutil.rmtree(cohort, ignore_errors=True)
            flat = ["--2d"] if stage["dimension"] == 2 else []
            gemini("phantom", cohort, "--count", stage["count"], "--seed", 0, *flat)
        study = cohort / "study"
        if not (study / "study.json").is_file():
            gemini(*self._new_study(study, cohort, {}))
        return study, cohort / "labels"

    def publish(self) -> None:
        """Put the model into the folder of shipped models, with its scores."""
        self._publish(self.options.models.absolute(), self._score_rows())

    def _score_rows(self) -> list[dict[str, Any]]:
        """Return the scores as the card wants them."""
        if not self.scores.is_file():
            print("The model was not measured; its card says so.", flush=True)
            return []
        content = json.loads(self.scores.read_text("utf-8"))
        pairs = content["options"]["pairs"]
        what = f"{self.recipe['evaluate']['what']}, {pairs} pairs"
        command = f"{self._command()} --pairs {pairs} --stages evaluate"
        rows = []
        for way, title in WAYS.items():
            found = content["ways"].get(way)
            if found is None:
                continue
            for key, measure, unit in (
                ("dice", "Dice", ""),
                ("fold_percent", "folds", "%"),
            ):
                text = f"{measure}, {title} ({what})"
                rows.append({"what": text, "value": found[key], "unit": unit, "command": command})
        return rows

    def _command(self) -> str:
        """Return the command that makes this model, also where it was not the recipe's steps."""
        words = ["python", "scripts/train_models.py", self.name]
        if self.recipe["data"]["kind"] == "study":
            words += ["--data", "DIR"]
        _, steps = self._steps()
        if steps != self.recipe["pretrain"]["steps"]:
            words += ["--steps", str(steps)]
        return shlex.join(
            [*words, *(word for item in self.options.set for word in ("--set", item))]
        )

    def _publish(self, into: Path, scores: list[dict[str, Any]]) -> Path:
        about = {**self.recipe["about"], "scores": scores, "recipe": self._command()}
        path = self.folder / "about.json"
        path.write_text(json.dumps(about, indent=1), encoding="utf-8")
        words = ["models", "publish", self.run_folder, self.name, "--about", path]
        words += ["--into", into, "--replace"]
        gemini(*words, *(["--general"] if self.recipe["general"] else []))
        return into / self.name


def gemini(*words: Any) -> None:
    """Run a command of napari-gemini in this process; end where it fails."""
    from napari_gemini.cli import main as run_command

    command = [str(word) for word in words]
    print(f"$ napari-gemini {shlex.join(command)}", flush=True)
    if code := run_command(command):
        sys.exit(code)


def call(*words: Any) -> None:
    """Show a command and run it; end where it fails."""
    command = [str(word) for word in words]
    print(f"$ {shlex.join(command)}", flush=True)
    if code := subprocess.run(command, check=False, cwd=ROOT).returncode:
        sys.exit(code)


def main() -> None:
    """Make one model."""
    names = sorted(path.stem for path in RECIPES.glob("*.json"))
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", choices=names)
    parser.add_argument("--work", type=Path, default=ROOT / "runs" / "models")
    parser.add_argument("--data", type=Path, help="folder of the real data sets")
    parser.add_argument("--models", type=Path, default=ROOT / "models", help="where it is shipped")
    parser.add_argument("--steps", type=int, help="instead of the recipe's (a new training only)")
    parser.add_argument("--pairs", type=int, help="instead of the recipe's, for the measurement")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--stages", default=",".join(STAGES), help="some of " + ", ".join(STAGES))
    options = parser.parse_args()
    stages = options.stages.split(",")
    if unknown := [stage for stage in stages if stage not in STAGES]:
        parser.error(f"there is no stage {unknown[0]}; there are {', '.join(STAGES)}")
    workshop = Workshop(options.name, options)
    # Said before the measurement, which takes long.
    if "publish" in stages and "pretrain" not in stages and not workshop.begun:
        sys.exit(f"There is no run to publish in {workshop.run_folder}: train first.")
    workshop.folder.mkdir(parents=True, exist_ok=True)
    for stage in STAGES:
        if stage in stages:
            getattr(workshop, stage)()


if __name__ == "__main__":
    main()
