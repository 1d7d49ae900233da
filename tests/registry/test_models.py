"""Registering: blessed models only, once, and whole."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from eve_core.errors import UserError
from eve_core.evaluation.blessing import read_blessing, write_blessing
from eve_core.registry.models import aliases
from eve_core.registry.promotion import promote
from eve_core.registry.tracking import open_experiment
from tests.registry.conftest import register_stand_in


def version_of(config, number):
    return open_experiment(config).client.get_model_version("eve-vqa", number)


def versions(config):
    return open_experiment(config).client.search_model_versions("name = 'eve-vqa'")


def test_a_version_carries_its_lineage_and_is_the_candidate(config, make):
    checkpoint, blessing = make("a", champion="7")
    number = register_stand_in(config, checkpoint, blessing)
    verdict = read_blessing(blessing)
    assert version_of(config, number).tags == {
        "eve.task": "vqa",
        "eve.model_digest": verdict.model_digest,
        "eve.blessing_digest": verdict.digest,
        "eve.baseline": "7",
        "eve.metrics": '{"accuracy": 0.7}',
        "eve.data_revision": "revision",
        "eve.data_digest": "data",
        "eve.git_revision": "code",
        "eve.pipeline_run": "run-1",
        "eve.parent_checkpoint": "pretrained",
    }
    assert aliases(open_experiment(config), "eve-vqa") == {"candidate": number}


def test_a_model_is_stored_without_pickle_with_its_code_and_its_packages(config, registered):
    registered("a")
    uri = open_experiment(config).client.get_model_version_download_uri("eve-vqa", "1")
    stored = {str(path.relative_to(uri)) for path in Path(uri).rglob("*") if path.is_file()}
    artifacts = {name for name in stored if name.startswith("artifacts/")}
    assert artifacts == {
        "artifacts/README.md",
        "artifacts/blessing.json",
        "artifacts/checkpoint/config.json",
        "artifacts/checkpoint/model.safetensors",
        "artifacts/requests.parquet",
    }
    assert {"serving.py", "code/eve_core/__init__.py", "input_example.json"} <= stored
    assert not [name for name in stored if name.endswith((".pkl", ".pickle", ".pyc"))]
    requirements = (Path(uri) / "requirements.txt").read_text().split()
    assert all("==" in line and "+" not in line for line in requirements)
    assert {line.split("==")[0] for line in requirements} >= {"torch", "torchvision", "transformers", "mlflow"}


@pytest.mark.parametrize(
    ("task", "inputs", "outputs"),
    [
        ("vqa", {"image": "binary", "question": "string"}, {"answer": "string", "score": "double"}),
        (
            "nlvr2",
            {"left_image": "binary", "right_image": "binary", "statement": "string"},
            {"answer": "boolean", "score": "double"},
        ),
        ("retrieval", {"image": "binary", "text": "string"}, {"score": "double"}),
    ],
)
def test_a_model_says_what_it_reads_and_answers(config, make, task, inputs, outputs):
    checkpoint, blessing = make("a", task=task)
    register_stand_in(config, checkpoint, blessing, task)
    from mlflow.models import get_model_info

    info = get_model_info(f"models:/eve-{task}@candidate")
    for schema, expected in ((info.signature.inputs, inputs), (info.signature.outputs, outputs)):
        assert {column["name"]: column["type"] for column in schema.to_dict()} == expected


def test_registering_again_returns_the_same_version(config, make):
    checkpoint, blessing = make("a")
    for run_key in ("run-1", "run-2"):
        assert register_stand_in(config, checkpoint, blessing, run_key=run_key) == "1"
    assert len(versions(config)) == 1


def test_another_blessing_is_another_version(config, registered):
    assert [registered("a"), registered("b"), registered("b", champion="1")] == ["1", "2", "3"]
    assert aliases(open_experiment(config), "eve-vqa") == {"candidate": "3"}


def test_the_champions_model_is_not_registered_twice(config, make, registered):
    promote(config, task="vqa", version=registered("a"), reason="first", serving_check=lambda *_: None)
    assert registered("a", code_revision="a later commit") == "1"
    assert len(versions(config)) == 1
    assert aliases(open_experiment(config), "eve-vqa") == {"champion": "1"}


def refused(config, checkpoint, blessing, message, task="vqa"):
    with pytest.raises(UserError, match=message):
        register_stand_in(config, checkpoint, blessing, task)
    assert versions(config) == []


def test_a_refusal_is_not_registered(config, make):
    checkpoint, path = make("a")
    verdict = read_blessing(path)
    failed = replace(verdict.checks[0], passed=False, sentence="accuracy 0.1 is below 0.5")
    write_blessing(replace(verdict, blessed=False, checks=(failed,), reasons=(failed.sentence,)), path)
    refused(config, checkpoint, path, r"refused this model \(accuracy 0\.1 is below 0\.5\)")


def test_a_blessing_of_something_else_is_not_accepted(config, make):
    checkpoint, blessing = make("a")
    refused(config, checkpoint, blessing, "for task vqa, not nlvr2", task="nlvr2")
    refused(config, make("b")[0], blessing, "for another model")
    (checkpoint / "model.safetensors").write_text("trained on")
    refused(config, checkpoint, blessing, "for another model")


def test_an_edited_blessing_is_not_accepted(config, make):
    checkpoint, blessing = make("a")
    blessing.write_text(json.dumps({**json.loads(blessing.read_text()), "items": 10_000}))
    refused(config, checkpoint, blessing, "was changed after the gate wrote it")


def test_a_run_cut_off_before_the_version_leaves_none_and_is_repeated(config, make, monkeypatch):
    from mlflow import MlflowClient

    checkpoint, blessing = make("a")

    def killed(*arguments, **named):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "create_model_version", killed)
        with pytest.raises(KeyboardInterrupt):
            register_stand_in(config, checkpoint, blessing)
    assert versions(config) == []
    assert aliases(open_experiment(config), "eve-vqa") == {}
    assert register_stand_in(config, checkpoint, blessing) == "1"
