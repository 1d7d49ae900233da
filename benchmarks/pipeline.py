"""What the pipeline adds: its steps as subprocesses under kfp.local, against the same functions in one process."""

import contextlib
import io
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from rich.console import Console

from benchmarks.results import Line, parser, publish
from components.data_processing.fetch_data.component import fetch_data
from components.data_processing.resolve_data.component import resolve_data
from components.data_processing.validate_data.component import validate_data
from components.deployment.promote.component import promote
from components.deployment.register.component import register
from components.evaluation.evaluate.component import evaluate
from components.evaluation.find_baseline.component import find_baseline
from components.evaluation.gate.component import gate
from components.step import RUN_KEY_VARIABLE
from components.training.finetune.component import finetune
from components.training.pretrain.component import pretrain
from eve_core.config import RegistryConfig, RunConfig, load_config
from eve_core.data.prepare import prepare_all
from eve_core.data.versioning import publish as publish_data
from pipelines.eve_training.arguments import pipeline_arguments
from pipelines.eve_training.display import Display
from pipelines.eve_training.local import run_locally

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DEMO = Path(__file__).parents[1] / "configs" / "demo.yaml"
_WITHOUT_TORCH = ("resolve-data", "fetch-data", "validate-data", "find-baseline", "gate")
_BEGUN = re.compile(r"^(\d+:\d+:\d+\.\d+) - INFO - Executing task \S*'([\w-]+)'")
_ENDED = re.compile(r"^(\d+:\d+:\d+\.\d+) - INFO - Task \S*'([\w-]+)'\S* finished with status")
IN_ALL_TARGET, STEP_TARGET, HELP_TARGET, CHECK_TARGET = 60.0, 3.0, 0.5, 5.0


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and publish."""
    command = parser(__doc__)
    command.set_defaults(device="cpu", rounds=2)
    options = command.parse_args(arguments)
    turns: dict[str, list[dict[str, float]]] = {"pipeline": [], "one process": []}
    wholes: list[float] = []
    with TemporaryDirectory() as scratch:
        for turn in range(1 if options.quick else options.rounds):
            config = _config(Path(scratch) / str(turn))
            with contextlib.redirect_stderr(io.StringIO()):
                manifest_folder = Path(config.data.repository) / "new"
                prepare_all(config.data, manifest_folder, config.workspace, progress=False)
                publish_data(config.data, manifest_folder)
            alone = config.model_copy(update=_places(Path(scratch) / f"{turn}-alone"))
            turns["one process"].append(_in_one_process(alone))
            began = time.perf_counter()
            done = run_locally(config, Display(Console(file=io.StringIO())))
            wholes.append(time.perf_counter() - began)
            assert done.failure is None, done.failure
            turns["pipeline"].append(_from_log(done.folder / "pipeline.log"))
    steps = [*turns["one process"][0]]
    rows: list[dict[str, Any]] = [
        {"step": step, **{name: min(turn[step] for turn in measured) for name, measured in turns.items()}}
        for step in steps
    ]
    for row in rows:
        row["added"] = row["pipeline"] - row["one process"]
    added = min(wholes) - sum(row["one process"] for row in rows)
    eve = {name: _seconds(name) for name in ("--help", "check")}
    lines = [Line("added in all: seconds", added, "{:.1f} s", IN_ALL_TARGET, at_most=True)]
    lines += [
        Line(f"added to {row['step']}: seconds", row["added"], "{:.1f} s", STEP_TARGET, at_most=True)
        for row in rows
        if row["step"] in _WITHOUT_TORCH
    ]
    lines += [
        Line("eve --help: seconds", eve["--help"], "{:.2f} s", HELP_TARGET, at_most=True),
        Line("eve check: seconds", eve["check"], "{:.2f} s", CHECK_TARGET, at_most=True),
    ]
    publish("pipeline", options, {"tasks": ["nlvr2"]}, {"rows": rows, "whole": wholes, "commands": eve}, lines, _draw)


def _places(folder: Path) -> dict[str, Any]:
    folder.mkdir(parents=True)
    registry = RegistryConfig(tracking_uri=f"sqlite:///{folder}/mlflow.db", artifacts=str(folder / "artifacts"))
    return {"workspace": folder, "registry": registry}


def _config(folder: Path) -> RunConfig:
    """The demonstration with one task, on little data, for a few steps: what surrounds the work is the same."""
    demo = load_config(_DEMO)
    assert demo.data.synthetic is not None
    few = {"coco_images": 120, "nlvr2_pairs": 60, "flickr_images": 90, "flickr_test_images": 30}
    places = _places(folder)
    data = {
        "repository": str(folder / "repository"),
        "commit": True,
        "synthetic": demo.data.synthetic.model_copy(update=few),
    }
    task = demo.tasks["nlvr2"]
    tuned = task.finetuning.optimization.model_copy(update={"steps": 3, "batch_size": 16})
    floors = [task.gate.floors[0].model_copy(update={"at_least": 0.0})]
    task = task.model_copy(
        update={
            "finetuning": task.finetuning.model_copy(update={"optimization": tuned}),
            "evaluation": task.evaluation.model_copy(update={"slices": [], "requests": 4}),
            "gate": task.gate.model_copy(update={"floors": floors, "min_items": 10}),
        }
    )
    trained = demo.pretraining.optimization.model_copy(update={"steps": 4, "batch_size": 16})
    return demo.model_copy(
        update={
            **places,
            "data": demo.data.model_copy(update=data),
            "pretraining": demo.pretraining.model_copy(update={"optimization": trained}),
            "tasks": {"nlvr2": task},
        }
    )


def _in_one_process(config: RunConfig) -> dict[str, float]:
    """Seconds of every step's function."""
    given = pipeline_arguments(config)
    (task,) = given["tasks"]
    run = given["run"]
    seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def timed(step: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        seconds[step] = time.perf_counter() - began

    def folder(name: str) -> Any:
        path = config.workspace / "artifacts" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return SimpleNamespace(path=str(path), metadata={}, log_metric=lambda *_: None)

    prepared, report, pretrained, tuned = (folder(name) for name in ("prepared", "report", "pretrained", "tuned"))
    scores, blessing = folder("scores"), folder("blessing")
    about = {"task": task["target"], "run": run}
    of_task = {**about, "task_data": task["data"], "prepared": prepared, "validated": report}
    os.environ[RUN_KEY_VARIABLE] = "alone"
    # Imports are the processes' own; here they come once, before anything is timed.
    import eve_core.evaluation.figures
    import eve_core.model
    import eve_core.quality
    import eve_core.registry.promotion
    import eve_core.training  # noqa: F401

    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        with timed("resolve-data"):
            commit = resolve_data.python_func(given["data"], "", run, given["config"], given["git_revision"])
        with timed("fetch-data"):
            fetch_data.python_func(given["data"], commit, run, prepared)
        with timed("validate-data"):
            validate_data.python_func(prepared, given["validation"], run, report)
        with timed("pretrain"):
            pretrain.python_func(
                prepared, report, given["pretraining"], given["model"], given["tokenizer"], run, pretrained
            )
        with timed("finetune"):
            finetune.python_func(**of_task, finetuning=task["finetuning"], pretrained=pretrained, checkpoint=tuned)
        with timed("find-baseline"):
            baseline = find_baseline.python_func(**about, candidate=tuned)
        with timed("evaluate"):
            evaluate.python_func(
                **of_task,
                evaluation=task["evaluation"],
                pretraining=given["pretraining"],
                baseline=baseline,
                candidate=tuned,
                scores=scores,
                metrics=folder("metrics"),
            )
        with timed("gate"):
            judged = {"settings": task["gate"], "evaluation": task["evaluation"], "git_revision": given["git_revision"]}
            gate.python_func(**about, **judged, scores=scores, blessing=blessing, page=folder("page"))
        with timed("register"):
            version = register.python_func(**about, checkpoint=tuned, blessing=blessing, scores=scores)
        with timed("promote"):
            promote.python_func(**about, version=version)
    return seconds


def _from_log(log: Path) -> dict[str, float]:
    """Seconds of every step from kfp's own record, start of its process included."""
    begun: dict[str, datetime] = {}
    seconds: dict[str, float] = {}
    for line in log.read_text().splitlines():
        for pattern in (_BEGUN, _ENDED):
            if match := pattern.match(line.strip().replace("\x1b", "")):
                at = datetime.strptime(match[1], "%H:%M:%S.%f")
                if pattern is _BEGUN:
                    begun[match[2]] = at
                else:
                    seconds[match[2]] = (at - begun[match[2]]).total_seconds()
    return seconds


def _seconds(argument: str) -> float:
    command = [sys.executable, "-m", "eve_core.cli.main", argument]
    taken = []
    for _ in range(5):
        began = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True, cwd=_DEMO.parents[1])
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def _draw(figure: "Figure", measured: dict[str, Any]) -> None:
    axis = figure.subplots()
    rows = measured["rows"]
    names = [row["step"] for row in rows]
    axis.barh(names, [row["one process"] for row in rows], color="tab:blue", label="the function")
    added = [max(0.0, row["added"]) for row in rows]
    bars = axis.barh(names, added, left=[row["one process"] for row in rows], color="tab:orange", label="its process")
    axis.bar_label(bars, [f"{row['added']:+.1f} s" for row in rows], padding=4)
    axis.set_xlabel("seconds")
    axis.set_xlim(0, 1.15 * max(row["one process"] + more for row, more in zip(rows, added, strict=True)))
    axis.invert_yaxis()
    axis.legend(loc="center right")


if __name__ == "__main__":
    main()
