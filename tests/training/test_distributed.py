"""However a step's batch is spread, over processes or micro-batches, the losses are those of the whole."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from eve_core.config import LaunchConfig, PretrainingConfig, Split
from eve_core.errors import UserError
from eve_core.training import TrainingJob, launch
from tests.training.conftest import MODEL, TOKENIZER, optimization
from tests.training.starting import run_to_the_end

pytestmark = pytest.mark.slow(minutes=3)

ALIGNED = {"tasks": ["mlm", "mim", "itc", "itm"]}
STEADY = {"drop_path_rate": 0.0, "text_dropout": 0.0}
"""Which paths are dropped depends on how the batch is spread, so nothing is dropped where losses are compared."""


def job_of(
    prepared, folder: Path, *, objective: dict[str, Any] | None = None, steady: bool = True, **changes: Any
) -> TrainingJob:
    folder.mkdir(exist_ok=True)
    (folder / "out").mkdir(exist_ok=True)
    config = PretrainingConfig(
        data=[Split(set="flickr8k", splits=["train"])],
        optimization=optimization(**{"steps": 20, "batch_size": 16, "checkpoint_steps": 7, **changes}),
        **(objective or {}),
    )
    model = MODEL.model_copy(update={"overrides": {**MODEL.overrides, **(STEADY if steady else {})}})
    sections = {"pretraining": config, "model": model, "tokenizer": TOKENIZER}
    return TrainingJob(
        task=None,
        prepared=str(prepared.path),
        validated=None,
        settings={name: section.model_dump(mode="json") for name, section in sections.items()},
        pretrained=None,
        out=str(folder / "out"),
        scratch=str(folder / "scratch"),
        seed=5,
    )


def losses(job: TrainingJob) -> list[dict[str, float]]:
    lines = (Path(job.out) / "training_log.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def assert_same_losses(one: TrainingJob, other: TrainingJob) -> None:
    ours, theirs = losses(one), losses(other)
    assert len(ours) == len(theirs) == 20
    for a, b in zip(ours, theirs, strict=True):
        for name in ("loss", "mlm", "mim", "itc", "itm", "load_balance"):
            if name in a:
                assert a[name] == pytest.approx(b[name], abs=1e-5, rel=1e-5), (a["step"], name)


@pytest.fixture(scope="module")
def whole(prepared, tmp_path_factory):
    """One process, the batch at once; with negatives from the batch, and a load balance that weighs something."""
    job = job_of(prepared, tmp_path_factory.mktemp("whole"), objective={**ALIGNED, "load_balance_weight": 0.1})
    launch(job, LaunchConfig(), None)
    return job


def test_two_processes_give_the_losses_of_one(prepared, whole, tmp_path):
    logged: list[tuple[int, float]] = []
    job = job_of(prepared, tmp_path, objective={**ALIGNED, "load_balance_weight": 0.1})
    launch(job, LaunchConfig(processes=2), lambda metrics, step: logged.append((step, metrics["loss"])))
    assert_same_losses(job, whole)
    assert [step for step, _ in logged] == list(range(1, 21))


def test_without_a_pass_ahead_every_micro_batch_balances_on_its_own(prepared, tmp_path):
    objective = {"load_balance_weight": 0.1}
    job = job_of(prepared, tmp_path, objective=objective, micro_batch_size=4, exact_load_balance=False)
    launch(job, LaunchConfig(), None)
    for entry in losses(job):  # a mean over micro-batches, not their sum
        assert 0.9 < entry["load_balance"] < 2
        assert entry["loss"] == pytest.approx(entry["mlm"] + entry["mim"] + 0.1 * entry["load_balance"], rel=1e-4)


def test_several_machines_need_a_cluster():
    with pytest.raises(ValueError, match="nodes is 2, but several machines are a cluster's; set trainjob"):
        LaunchConfig(nodes=2)


@pytest.mark.parametrize("processes", [1, 2])
def test_micro_batches_give_the_losses_of_the_whole_batch(prepared, tmp_path, processes):
    objective = {"load_balance_weight": 0.1}
    at_once = job_of(prepared, tmp_path / "at once", objective=objective)
    launch(at_once, LaunchConfig(), None)
    # What is computed again on the way back is the same.
    settings = {"micro_batch_size": 4, "activation_checkpointing": processes == 2}
    in_parts = job_of(prepared, tmp_path / "in parts", objective=objective, **settings)
    run_to_the_end(in_parts, processes)
    assert_same_losses(in_parts, at_once)


def test_a_sharded_model_gives_the_losses_and_pictures_of_a_whole_one(prepared, whole, tmp_path):
    kept: list[Path] = []
    job = job_of(prepared, tmp_path, objective={**ALIGNED, "load_balance_weight": 0.1}, fsdp=True)
    launch(job, LaunchConfig(processes=2), keep=kept.append)
    assert_same_losses(job, whole)
    ours, theirs = (load_file(Path(one.out) / "model.safetensors") for one in (job, whole))
    assert ours.keys() == theirs.keys()
    for name, weights in ours.items():
        torch.testing.assert_close(weights, theirs[name], atol=2e-4, rtol=0, msg=name)
    assert len(kept) == 4  # drawn by one process from weights of both


def test_a_sharded_model_in_micro_batches_with_checkpointed_activations(prepared, tmp_path):
    objective = {"load_balance_weight": 0.1}
    at_once = job_of(prepared, tmp_path / "at once", objective=objective)
    launch(at_once, LaunchConfig(), None)
    settings = {"micro_batch_size": 4, "activation_checkpointing": True, "fsdp": True}
    sharded = job_of(prepared, tmp_path / "sharded", objective=objective, **settings)
    run_to_the_end(sharded, 2)
    assert_same_losses(sharded, at_once)
    for ours, theirs in zip(losses(sharded), losses(at_once), strict=True):
        assert ours["grad_norm"] == pytest.approx(theirs["grad_norm"], rel=1e-4)


def test_one_process_has_nothing_to_shard_over(prepared, tmp_path):
    with pytest.raises(UserError, match="fsdp spreads a model over processes, but there is one"):
        launch(job_of(prepared, tmp_path, fsdp=True), LaunchConfig(), None)
