"""Judging a model: the VQA metric, retrieval's ranking, the gate's bootstrap, and a promotion."""

import gzip
import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.measure import peak_memory, take_turns
from benchmarks.results import Line, chosen_device, parser, publish
from benchmarks.samples import COCO_SAMPLE
from eve_core.config import RegistryConfig
from eve_core.data.shards import file_sha256
from eve_core.evaluation.blessing import Blessing, Check, Part, write_blessing
from eve_core.evaluation.served import with_answers, write_requests
from eve_core.evaluation.significance import analyse
from eve_core.model_digest import model_digest
from eve_core.registry.models import register
from eve_core.registry.promotion import promote
from eve_core.tasks.recall import rank_best
from eve_core.tasks.vqa_accuracy import normalize_answer, vqa_accuracy

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_ANNOTATIONS = COCO_SAMPLE.parent / "vqa2" / "text_only_60k" / "annotations_valid.json.gz"
SECONDS = {"vqa metric": 10.0, "retrieval": 20.0, "gate": 20.0, "promotion": 2.0}
VQA_TARGET, GB_TARGET = 10.0, 2.0


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and publish."""
    command = parser(__doc__)
    options = command.parse_args(arguments)
    options.device = "cpu"  # none of it runs elsewhere
    questions, items = (2_000, 1_000) if options.quick else (214_354, 50_000)
    pictures, width = (50, 16) if options.quick else (5_000, 768)
    rounds = 1_000 if options.quick else 10_000
    asked = _questions(questions)
    with TemporaryDirectory() as scratch:
        promotion = _Promotions(Path(scratch), options.rounds + 1)
        contestants: dict[str, Callable[[], object]] = {
            "vqa metric": partial(_score, asked),
            "vqa metric, nothing remembered": partial(_score_plainly, asked),
            "retrieval": partial(_rank, pictures, width),
            "gate": partial(_judge, items, rounds),
            "promotion": promotion.promote_the_next,
        }
        timings = take_turns(contestants, chosen_device(options), rounds=options.rounds, description="evaluation")
    memory = peak_memory(_rank, pictures, width, device=chosen_device(options)) / 1e9
    rows: list[dict[str, Any]] = [{"what": name, **timing.summary} for name, timing in timings.items()]
    seconds = {row["what"]: row["best_seconds"] for row in rows}
    lines = [Line(f"{name}: seconds", seconds[name], "{:.2f} s", most, at_most=True) for name, most in SECONDS.items()]
    ratio = seconds["vqa metric, nothing remembered"] / seconds["vqa metric"]
    lines += [
        Line("vqa metric, against every answer normalised anew", ratio, "{:.1f} x", VQA_TARGET),
        Line("retrieval: memory", memory, "{:.2f} GB", GB_TARGET, at_most=True),
    ]
    settings = {"questions": questions, "items": items, "rounds": rounds, "pictures": pictures, "width": width}
    publish("evaluation", options, settings, {"rows": rows, "retrieval_memory_gb": memory}, lines, _draw)


def _questions(number: int) -> list[tuple[str, list[str]]]:
    """Predictions with ten answers each: those of the real sample over and over, or drawn ones without it."""
    if _ANNOTATIONS.exists():
        with gzip.open(_ANNOTATIONS) as file:
            answers = [[a["answer"] for a in q["answers"]] for q in json.load(file)["annotations"]]
    else:
        generator = np.random.default_rng(0)
        words = [f"{a} {b}" for a in ("red", "two", "a", "the") for b in ("cat", "dogs!", "o'clock", "man's hat")]
        answers = [[words[i] for i in generator.integers(0, len(words), 10)] for _ in range(9_000)]
    return [(answers[n % len(answers)][n // len(answers) % 10], answers[n % len(answers)]) for n in range(number)]


def _score(asked: list[tuple[str, list[str]]]) -> float:
    normalize_answer.cache_clear()
    return float(np.mean([vqa_accuracy(prediction, answers) for prediction, answers in asked]))


def _score_plainly(asked: list[tuple[str, list[str]]]) -> float:
    """As the official program goes about it: every answer of every question normalised, and compared nine by nine."""
    normalize = normalize_answer.__wrapped__
    scores = []
    for prediction, answers in asked:
        given = [normalize(answer) for answer in answers]
        mine = normalize(prediction)
        others = [[given[j] for j in range(len(given)) if j != i] for i in range(len(given))]
        scores.append(np.mean([min(1.0, sum(answer == mine for answer in left) / 3) for left in others]))
    return float(np.mean(scores))


def _rank(pictures: int, width: int) -> float:
    generator = np.random.default_rng(0)
    images = generator.standard_normal((pictures, width), dtype=np.float32)
    owner = np.repeat(np.arange(pictures), 5)
    texts = images[owner] + 4 * generator.standard_normal((5 * pictures, width), dtype=np.float32)
    numbers = np.arange(pictures)
    ranks = [rank_best(images, texts, numbers, owner), rank_best(texts, images, owner, numbers)]
    return float(np.mean([np.mean(rank < cutoff) for rank in ranks for cutoff in (1, 5, 10)]))


def _judge(items: int, rounds: int) -> None:
    """As the gate does it: the whole and twelve slices."""
    generator = np.random.default_rng(0)
    candidate, champion = ((generator.random(items) < share).astype(float) for share in (0.71, 0.7))
    pictures = generator.integers(0, items // 3, items)
    kinds = generator.integers(0, 12, items)
    groups = {"all": np.ones(items, dtype=bool), **{f"slice {kind}": kinds == kind for kind in range(12)}}
    found = analyse(candidate, champion, pictures, groups, level=0.95, rounds=rounds, seed=0)
    for group in found.values():
        assert group.comparison is not None
        group.comparison.p_value(0.0)


class _Promotions:
    """Registered stand-ins, each compared with the one before; what is promoted is not looked into."""

    def __init__(self, folder: Path, number: int) -> None:
        self.config = RegistryConfig(tracking_uri=f"sqlite:///{folder}/mlflow.db", artifacts=str(folder / "artifacts"))
        self.versions = iter([self._register(folder, place) for place in range(1, number + 1)])

    def promote_the_next(self) -> None:
        promote(self.config, task="vqa", version=next(self.versions), reason="measured", serving_check=lambda *_: None)

    def _register(self, folder: Path, place: int) -> str:
        checkpoint = folder / f"checkpoint-{place}"
        checkpoint.mkdir()
        (checkpoint / "config.json").write_text('{"task": "vqa"}')
        (checkpoint / "model.safetensors").write_text(str(place))
        requests = folder / "requests.parquet"
        write_requests([{"image": b"a picture", "question": "what is it?"}], requests)
        with_answers(requests, [{"answer": "a cat", "score": 0.9}])
        before = str(place - 1) if place > 1 else None
        blessing = Blessing(
            task="vqa",
            trained_on=("vqa_v2 train",),
            scored_on=("vqa_v2 val",),
            blessed=True,
            reasons=(),
            checks=(Check("floor accuracy", 0.7, 0.5, True, "accuracy 0.7 is at least 0.5"),),
            items=300,
            test_digest="test",
            data_digest="data",
            data_revision="revision",
            code_revision="code",
            model_digest=model_digest(checkpoint),
            main_metric="accuracy",
            metrics={"accuracy": 0.7},
            parts=(Part("all", 300, (0.7, 0.6, 0.8), None, None),),
            served={},
            requests_digest=file_sha256(requests),
            champion_version=before,
            champion_digest=before and "old",
            champion_metrics={"accuracy": 0.6} if before else None,
        )
        path = folder / "blessing.json"
        write_blessing(blessing, path)
        return register(
            self.config, task="vqa", checkpoint=checkpoint, blessing=path, requests=requests, run_key="benchmark"
        )


def _draw(figure: "Figure", measured: dict[str, Any]) -> None:
    axis = figure.subplots()
    rows = measured["rows"]
    names = [row["what"] for row in rows]
    bars = axis.barh(names, [row["best_seconds"] for row in rows], color="tab:blue")
    axis.bar_label(bars, fmt="%.2f s", padding=4)
    for place, name in enumerate(names):
        if name in SECONDS:
            axis.plot([SECONDS[name]] * 2, [place - 0.4, place + 0.4], color="tab:red")
    axis.set(xscale="log", xlabel="seconds (red: the most that is allowed)")
    axis.margins(x=0.15)
    axis.invert_yaxis()


if __name__ == "__main__":
    main()
