"""Pre-training then fine-tuning against fine-tuning from scratch: the same steps, data and seeds, all three tasks."""

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import torch

from benchmarks.results import Line, parser, publish
from eve_core.config import RunConfig, SyntheticWorldConfig, load_config
from eve_core.data.prepare import prepare_all
from eve_core.data.prepared import PreparedData
from eve_core.data.preprocessing import Preprocessor
from eve_core.evaluation.scoring import score
from eve_core.model import EveConfig, EveForPreTraining
from eve_core.training import finetune, pretrain

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DEMO = Path(__file__).parents[1] / "configs" / "demo.yaml"
_SMALL_WORLD = {"coco_images": 120, "nlvr2_pairs": 60, "flickr_images": 90, "flickr_test_images": 30}
METRICS = {"vqa": "accuracy", "nlvr2": "accuracy", "retrieval": "mean_recall"}
WAYS = ("from scratch", "pre-trained")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and publish."""
    command = parser(__doc__)
    command.set_defaults(device="cpu", rounds=2)
    options = command.parse_args(arguments)  # a round is a seed
    run = load_config(_DEMO)
    tasks = ["nlvr2"] if options.quick else list(METRICS)
    rows: list[dict[str, Any]] = []
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        if options.quick:
            run = _shortened(run)
        prepare_all(run.data, folder / "prepared", folder)
        data = PreparedData.open(folder / "prepared")
        for seed in range(1, options.rounds + 1):
            starts = _starts(data, run, folder / str(seed), seed)
            for task in tasks:
                for way, start in starts.items():
                    value = _tune(data, run, task, start, folder / f"{seed}-{task}-{way}", seed)
                    rows.append({"seed": seed, "task": task, "way": way, "metric": METRICS[task], "value": value})

    lines = []
    for task in tasks:
        values = {way: [row["value"] for row in rows if (row["task"], row["way"]) == (task, way)] for way in WAYS}
        for way in WAYS:
            lines.append(Line(f"{task}, {way}: {METRICS[task]}, mean of seeds", statistics.mean(values[way]), "{:.3f}"))
        gain = min(values["pre-trained"]) - max(values["from scratch"])
        lines.append(Line(f"{task}: worst seed pre-trained less best from scratch", gain, "{:+.3f}", 0.0))
    steps = {task: run.tasks[task].finetuning.optimization.steps for task in tasks}  # type: ignore[index]
    settings = {"pretraining_steps": run.pretraining.optimization.steps, "finetuning_steps": steps}
    publish("pretraining_gain", options, settings, {"rows": rows}, lines, _draw)


def _starts(data: PreparedData, run: RunConfig, folder: Path, seed: int) -> dict[str, Path]:
    """What fine-tuning starts from: the pre-trained model, and the same network as it was drawn."""
    folder.mkdir()
    trained, drawn = folder / "trained", folder / "drawn"
    pretrain(data, run.pretraining, run.model, run.tokenizer, trained, seed=seed, scratch=folder / "scratch")
    torch.manual_seed(seed)
    EveForPreTraining(EveConfig.from_pretrained(trained)).save_pretrained(drawn)
    Preprocessor.load(trained).save(drawn)
    return dict(zip(WAYS, (drawn, trained), strict=True))


def _tune(data: PreparedData, run: RunConfig, name: str, start: Path, folder: Path, seed: int) -> float:
    task = run.tasks[name]  # type: ignore[index]
    scratch, out = folder / "scratch", folder / "out"
    finetune(data, name, task.data, task.finetuning, start, out, seed=seed, scratch=scratch)
    scores = score(data, name, task.data, task.evaluation, out, folder / "scores", data_revision="benchmark")
    return scores[METRICS[name]]


def _shortened(run: RunConfig) -> RunConfig:
    tree = json.loads(run.model_dump_json())
    tree["data"]["synthetic"] = SyntheticWorldConfig.model_validate(_SMALL_WORLD).model_dump()
    for optimization in [tree["pretraining"], *(task["finetuning"] for task in tree["tasks"].values())]:
        optimization["optimization"] |= {"steps": 3, "batch_size": 8}
    return RunConfig.model_validate(tree)


def _draw(figure: "Figure", measured: dict[str, Any]) -> None:
    tasks = list(dict.fromkeys(row["task"] for row in measured["rows"]))
    panels = figure.subplots(1, len(tasks), squeeze=False)[0]
    for axis, task in zip(panels, tasks, strict=True):
        for place, way in enumerate(WAYS):
            values = [row["value"] for row in measured["rows"] if (row["task"], row["way"]) == (task, way)]
            axis.bar(place, statistics.mean(values), color=("tab:gray", "tab:blue")[place])
            axis.plot([place] * len(values), values, "k.", label="a seed" if place else None)
        axis.set_xticks(range(len(WAYS)), WAYS)
        axis.set(title=task, ylabel=METRICS[task])
        axis.legend(loc="lower right")
    figure.suptitle("Fine-tuned for equally many steps, from scratch and from the pre-trained model")


if __name__ == "__main__":
    main()
