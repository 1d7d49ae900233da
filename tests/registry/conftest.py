"""A real MLflow on SQLite for every test: one fresh database is made a session and copied, for it takes seconds."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from eve_core.config.run import RegistryConfig
from eve_core.data.shards import file_sha256
from eve_core.evaluation.blessing import Blessing, Check, Part, write_blessing
from eve_core.evaluation.served import with_answers, write_requests
from eve_core.model_digest import model_digest


def config_in(folder: Path) -> RegistryConfig:
    return RegistryConfig(tracking_uri=f"sqlite:///{folder}/mlflow.db", artifacts=str(folder / "artifacts"))


def register_stand_in(
    config: RegistryConfig, checkpoint: Path, blessing: Path, task: str = "vqa", run_key: str = "run-1"
) -> str:
    from eve_core.registry.models import register

    requests = blessing.with_name("requests.parquet")
    return register(config, task=task, checkpoint=checkpoint, blessing=blessing, requests=requests, run_key=run_key)


@pytest.fixture(scope="session")
def fresh_database(tmp_path_factory):
    from eve_core.registry.tracking import open_experiment

    folder = tmp_path_factory.mktemp("fresh")
    # Another experiment than the tests': its artifact folder is part of the database.
    open_experiment(config_in(folder).model_copy(update={"experiment": "fresh"}))
    return folder / "mlflow.db"


@pytest.fixture
def config(tmp_path, fresh_database, monkeypatch):
    """An empty registry. The working folder is empty too and has to stay so."""
    shutil.copyfile(fresh_database, tmp_path / "mlflow.db")
    working_folder = tmp_path / "working-folder"
    working_folder.mkdir()
    monkeypatch.chdir(working_folder)
    yield config_in(tmp_path)
    assert list(working_folder.iterdir()) == []


@pytest.fixture
def make(tmp_path):
    """Make a stand-in checkpoint with its blessing; the registry never looks into the weights."""

    def make(weights: str, champion: str | None = None, accuracy: float = 0.7, **changes) -> tuple[Path, Path]:
        checkpoint = tmp_path / f"checkpoint-{weights}"
        checkpoint.mkdir(exist_ok=True)
        (checkpoint / "config.json").write_text(json.dumps({"task": "vqa", "pretrained_digest": "pretrained"}))
        (checkpoint / "model.safetensors").write_text(weights)
        (checkpoint / "optimizer.pt").write_text("not part of the model")
        requests = tmp_path / "requests.parquet"
        if not requests.exists():
            write_requests([{"image": b"a picture", "question": "what is it?"}], requests)
            with_answers(requests, [{"answer": "a cat", "score": 0.9}])
        blessing = Blessing(
            task="vqa",
            trained_on=("coco_captions train", "vqa_v2 train"),
            scored_on=("vqa_v2 val",),
            blessed=True,
            reasons=(),
            checks=(Check("floor accuracy", accuracy, 0.5, True, f"accuracy {accuracy} is at least 0.5"),),
            items=300,
            test_digest="test",
            data_digest="data",
            data_revision="revision",
            code_revision="code",
            model_digest=model_digest(checkpoint),
            main_metric="accuracy",
            metrics={"accuracy": accuracy},
            parts=(Part("all", 300, (accuracy, 0.6, 0.8), None, None),),
            served={"latency_ms": 20.0},
            requests_digest=file_sha256(requests),
            champion_version=champion,
            champion_digest=champion and "old",
            champion_metrics=champion and {"accuracy": 0.6},
        )
        path = tmp_path / f"blessing-{weights}-{champion}-{accuracy}.json"
        write_blessing(replace(blessing, **changes), path)
        return checkpoint, path

    return make


@pytest.fixture
def registered(config, make):
    """Make and register a stand-in; its version."""

    def registered(weights: str, champion: str | None = None, **changes) -> str:
        return register_stand_in(config, *make(weights, champion, **changes))

    return registered
