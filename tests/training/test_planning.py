"""What a run will take."""

from pathlib import Path

import pytest
import torch

from eve_core.config import LaunchConfig, PoolConfig, load_config
from eve_core.data.manifest import Manifest, SetSummary
from eve_core.errors import UserError
from eve_core.model import EveConfig, EveForPreTraining
from eve_core.model.flops import encoder_flops, finetuning_flops, pretraining_flops
from eve_core.training.planning import _states, count_examples, describe_plan, plan_run, too_large

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.fixture(scope="module")
def base():
    return load_config(CONFIGS / "eve_base.yaml")


def test_the_recipe_of_the_paper(base):
    counts, source = count_examples(base)
    assert "published" in source
    assert counts["pretraining"] == 566_747 + 5_408_689 + 1_000_000 + 3_318_333  # the paper says 10 million
    plans = {plan.name: plan for plan in plan_run(base, counts)}
    assert [*plans] == ["pre-training", "vqa", "nlvr2", "retrieval"]
    pretraining = plans["pre-training"]
    assert pretraining.steps == 480_000
    assert (pretraining.batching.processes, pretraining.batching.accumulation) == (8, 2)
    assert pretraining.parameters > 475_197_696  # the backbone's
    assert plans["vqa"].steps == -(-10 * 443_757 // 128)
    assert too_large(list(plans.values()), base.pool) == []


def test_a_data_revision_says_itself_how_many_examples_it_has(base):
    sets = {base.tasks["vqa"].data.train.set: SetSummary(counts={"train": 1000, "val": 280}, quarantined={})}
    counts, source = count_examples(base, Manifest(shards=(), sets=sets))
    assert source == "the data revision"
    assert counts == {"vqa": 1000}


def test_hours_are_work_over_what_the_pool_does(base):
    plan = plan_run(base, count_examples(base)[0])[0]
    flops_per_second = 8 * 312e12 * 0.35
    assert plan.hours == pytest.approx(plan.flops_a_step * 480_000 / flops_per_second / 3600)


def test_what_does_not_fit_is_said_with_a_way_out(base):
    small = base.model_copy(update={"pool": PoolConfig(memory_gb=16)})
    said = too_large(plan_run(small, count_examples(small)[0]), small.pool)
    assert "pre-training needs about" in said[0]
    assert "GB of a GPU's 16; set micro_batch_size below 128 (try 64) or activation_checkpointing or fsdp" in said[0]


def test_epochs_need_the_number_of_examples(base):
    with pytest.raises(UserError, match="vqa: how many steps its epochs take follows from the data"):
        plan_run(base, {"pretraining": 1})


def test_one_process_a_gpu_needs_a_pool(base):
    with pytest.raises(UserError, match=r"launch\.processes is gpus, but no pool says how many"):
        plan_run(base.model_copy(update={"pool": None}), count_examples(base)[0])


def test_the_table_has_a_column_a_training(base):
    table = describe_plan(plan_run(base, count_examples(base)[0]), base.pool)
    assert [column.header for column in table.columns] == ["", "pre-training", "vqa", "nlvr2", "retrieval", "all"]


@pytest.mark.parametrize("tasks", [("mlm", "mim"), ("mlm", "mim", "itc", "itm")])
def test_the_flops_are_those_that_pytorch_counts(tasks):
    from torch.utils.flop_counter import FlopCounterMode

    torch.manual_seed(0)
    config = EveConfig.named("tiny", pretraining_tasks=list(tasks), vocab_size=500, pad_token_id=0)
    config.moe_backend = "loop"
    model = EveForPreTraining(config).eval()
    batch, length = 2, 12
    patches = torch.stack([torch.randperm(config.num_patches) for _ in range(batch)])
    visible = config.num_patches - round(0.75 * config.num_patches)
    token_mask = torch.zeros(batch, length, dtype=torch.bool)
    token_mask[:, 1:6] = True
    ids = torch.randint(5, 500, (batch, length))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(
            pixel_values=torch.rand(batch, 3, config.image_size, config.image_size),
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            visible_patches=patches[:, :visible],
            masked_patches=patches[:, visible:],
            masked_input_ids=ids,
            token_mask=token_mask,
            image_ids=torch.arange(batch),
        )
    assert 3 * counter.get_total_flops() / batch == pytest.approx(pretraining_flops(config, length, 0.75, 0.5), rel=0.1)


def test_a_downstream_example_takes_its_passes():
    config = EveConfig.named("base")
    one = encoder_flops(config, 20)
    assert finetuning_flops(config, "vqa", 20) == one
    assert finetuning_flops(config, "nlvr2", 20) == 2 * one
    assert finetuning_flops(config, "retrieval", 20) == pytest.approx(4 * one, rel=0.02)


def test_a_trainjob_has_the_gpus_that_it_asks_for(base):
    trainjob = {"image": "eve-train:1", "volume_claim": "eve", "gpus_per_node": 4}
    launch = LaunchConfig.model_validate({"nodes": 2, "processes": "gpus", "trainjob": trainjob})
    run = base.model_copy(update={"pretraining": base.pretraining.model_copy(update={"launch": launch})})
    assert plan_run(run, count_examples(run)[0])[0].batching.processes == 8


def test_sharded_micro_batches_keep_all_gradients(base):
    of_blocks, optimization = [10, 10], base.pretraining.optimization.model_copy(update={"fsdp": True})
    at_once, accumulated = (_states(100, of_blocks, optimization, 8, parts) for parts in (False, True))
    assert accumulated - at_once == 4 * 100
