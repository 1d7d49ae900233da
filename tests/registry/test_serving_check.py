"""A real model from its scores to champion: it is served from the registry as it was when it was evaluated."""

from dataclasses import replace
from pathlib import Path

import pytest

from eve_core.config import EvaluationConfig, GateConfig, MetricFloor, SliceConfig, Split
from eve_core.errors import UserError
from eve_core.evaluation import served as served_module
from eve_core.evaluation.blessing import read_blessing, write_blessing
from eve_core.evaluation.gate import decide, read_scores
from eve_core.evaluation.scoring import score
from eve_core.evaluation.served import REQUESTS_FILE, differences, read_requests, with_answers
from eve_core.registry import serving_check
from eve_core.registry.models import register
from eve_core.registry.promotion import champion, history, promote
from eve_core.registry.serving_check import check_serving
from eve_core.registry.tracking import open_experiment
from eve_core.registry.versions import registered_version, stored_blessing
from tests.training.conftest import run_pretraining
from tests.training.test_finetuning import run, task_data

pytestmark = pytest.mark.slow(minutes=2)

EVALUATION = EvaluationConfig(requests=4, slices=[SliceConfig(by="words", min_items=1)])
GATE = GateConfig(
    floors=[MetricFloor(metric="accuracy", at_least=0.0)],
    min_items=1,
    rounds=1000,
    max_latency=60_000,
    max_memory=9_000,
)
SEEN = [Split(set="flickr8k", splits=["train"])]


@pytest.fixture(scope="module")
def evaluated(prepared, tmp_path_factory):
    """A fine-tuned model, and the folder of its scores."""
    folder = tmp_path_factory.mktemp("evaluated")
    model = run(prepared, "vqa", run_pretraining(prepared, folder), tmp_path_factory.mktemp("tuned"), steps=2)
    metrics = score(
        prepared, "vqa", task_data("vqa"), EVALUATION, model, folder / "scores", data_revision="r", pretrained_on=SEEN
    )
    return model, folder / "scores", metrics


@pytest.fixture
def registered(config, evaluated, tmp_path):
    model, scores, _ = evaluated
    blessing = tmp_path / "blessing.json"
    write_blessing(decide(read_scores(scores), GATE, EVALUATION.slices, code_revision="c"), blessing)
    requests = scores / REQUESTS_FILE
    return register(config, task="vqa", checkpoint=model, blessing=blessing, requests=requests, run_key="run-1")


def test_scores_say_all_that_the_gate_asks(evaluated):
    _, folder, metrics = evaluated
    found = read_scores(folder)
    assert found.candidate.metrics == metrics
    assert found.leaking_rows == 0
    assert found.trained_on == ("flickr8k train", "vqa_v2 train")
    assert found.scored_on == ("vqa_v2 val",)
    assert {"latency_ms", "memory_mb", "size_mb"} == set(found.candidate.served)
    assert all(value > 0 for value in found.candidate.served.values())
    verdict = decide(found, GATE, EVALUATION.slices, code_revision="c")
    assert verdict.blessed, verdict.reasons
    assert {part.name.split()[0] for part in verdict.parts} == {"all", "words"}


def test_what_was_trained_on_and_is_scored_is_found(prepared, evaluated, tmp_path):
    model, _, _ = evaluated
    seen = [Split(set="coco_captions", splits=["val"])]  # whose pictures are those of VQA's val
    score(prepared, "vqa", task_data("vqa"), EVALUATION, model, tmp_path, data_revision="r", pretrained_on=seen)
    (reason,) = decide(read_scores(tmp_path), GATE, EVALUATION.slices, code_revision="c").reasons
    assert "rows that it was trained on show a picture of the test" in reason


def test_the_same_model_as_champion_is_no_gain(prepared, evaluated, tmp_path):
    model, _, _ = evaluated
    champion_is = {"champion": model, "champion_version": "7"}
    score(prepared, "vqa", task_data("vqa"), EVALUATION, model, tmp_path, data_revision="r", **champion_is)
    blessing = decide(read_scores(tmp_path), GATE, EVALUATION.slices, code_revision="c")
    (reason,) = blessing.reasons
    assert "is +0 [+0, +0] against champion 7" in reason


def test_a_version_that_answers_as_it_did_becomes_champion(config, registered):
    assert promote(config, task="vqa", version=registered, reason="the first").changed
    candidate = registered_version(config, "vqa", registered)
    served = check_serving(config, candidate, stored_blessing(open_experiment(config), candidate))
    assert len(served.answers) == 4
    assert served.latency_ms > 0


def test_a_version_that_answers_otherwise_moves_nothing(config, evaluated, tmp_path):
    """As when preprocessing changed between evaluation and serving."""
    model, scores, _ = evaluated
    requests = tmp_path / REQUESTS_FILE
    rows, expected = read_requests(scores / REQUESTS_FILE)
    served_module.write_requests(rows, requests)
    with_answers(requests, [{**answer, "score": answer["score"] + 0.01} for answer in expected])
    verdict = decide(read_scores(scores), GATE, EVALUATION.slices, code_revision="c")
    blessing = tmp_path / "blessing.json"
    write_blessing(replace(verdict, requests_digest=serving_check.file_sha256(requests)), blessing)
    version = register(config, task="vqa", checkpoint=model, blessing=blessing, requests=requests, run_key="run-1")
    with pytest.raises(UserError, match=r"does not answer as it did when it was evaluated \(4 times\): request 1"):
        promote(config, task="vqa", version=version, reason="the first")
    assert champion(config, "vqa") is None
    assert history(config, "vqa") == []


def test_requests_and_latency_are_the_blessings(config, registered):
    candidate = registered_version(config, "vqa", registered)
    blessing = stored_blessing(open_experiment(config), candidate)
    with pytest.raises(UserError, match="has not the requests that it was evaluated with"):
        check_serving(config, candidate, replace(blessing, requests_digest="another"))
    strict = [replace(c, threshold=0.001) if c.name == "budget latency_ms" else c for c in blessing.checks]
    with pytest.raises(UserError, match=r"takes .* ms for 95 of 100 requests, and its gate allows 0\.001"):
        check_serving(config, candidate, replace(blessing, checks=tuple(strict)))


def test_a_version_that_does_not_load_is_told(config, registered):
    stored = Path(open_experiment(config).client.get_model_version_download_uri("eve-vqa", registered))
    (stored / "code" / "eve_core" / "tasks" / "vqa.py").write_text("raise RuntimeError('not this code')")
    candidate = registered_version(config, "vqa", registered)
    with pytest.raises(UserError, match=r"models:/eve-vqa/1 does not serve: .*not this code"):
        check_serving(config, candidate, stored_blessing(open_experiment(config), candidate))


def test_an_environment_counts_only_with_exactly_the_pins():
    from importlib.metadata import version

    here = f"numpy=={version('numpy')}"
    assert serving_check._has([here])
    assert not serving_check._has([here, "numpy==1.0"])
    assert not serving_check._has(["no-such-package==1.0"])


def test_answers_that_are_no_numbers_differ():
    one, nothing = {"answer": "a", "score": 0.5}, {"answer": "a", "score": float("nan")}
    assert differences([one], [{**one, "score": 0.50001}], 1e-4) == []
    assert len(differences([nothing], [one], 1e-4)) == 1
    assert differences([{**one, "answer": "b"}], [one], 1e-4) == [
        "request 1 is answered b (0.5000), and was answered a (0.5000)"
    ]


def test_a_blessing_is_stored_as_it_was_given(config, registered):
    stored = Path(open_experiment(config).client.get_model_version_download_uri("eve-vqa", registered))
    assert read_blessing(stored / "artifacts" / "blessing.json").task == "vqa"
    card = (stored / "artifacts" / "README.md").read_text()
    assert card.startswith("# EVE for vqa")
    assert "## Licences of the sets" in card


def test_it_is_the_stored_code_that_serves_wherever_one_is(config, registered, tmp_path, monkeypatch):
    (tmp_path / "eve_core").mkdir()
    (tmp_path / "eve_core" / "__init__.py").write_text("raise SystemExit('the code of the working folder')")
    monkeypatch.chdir(tmp_path)
    version = registered_version(config, "vqa", registered)
    assert check_serving(config, version, stored_blessing(open_experiment(config), version)).answers
