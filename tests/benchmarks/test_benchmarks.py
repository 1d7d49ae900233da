"""Every benchmark runs and leaves what it promises; what they measure with is right."""

import importlib
import json
import operator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from benchmarks.measure import peak_memory, take_turns
from benchmarks.one_hot_router import OneHotRouter
from benchmarks.pretraining_step import draw_batch, trim
from benchmarks.text_trimming import main as text_trimming
from eve_core.errors import UserError
from eve_core.model import EveConfig
from eve_core.model.flops import encoder_flops

CPU = torch.device("cpu")


def run_quick(name: str, out: Path, *arguments: str) -> dict[str, Any]:
    """The JSON of a quick run; the plot must be there as well."""
    benchmark = importlib.import_module(f"benchmarks.{name}")
    benchmark.main(["--quick", "--rounds", "1", "--device", "cpu", "--out", str(out), *arguments])
    assert (out / f"{name}-cpu.png").stat().st_size > 1000
    text = (out / f"{name}-cpu.json").read_text()
    assert str(Path.cwd()) not in text
    result: dict[str, Any] = json.loads(text)
    assert result["quick"] is True
    assert {"device", "cores", "torch", "date"} <= set(result["machine"])
    assert all(line.keys() >= {"what", "measured", "target", "met"} for line in result["lines"])
    for row in result["rows"]:
        assert "value" in row or 0 < row["best_seconds"] <= row["median_seconds"]
    return result


@pytest.mark.slow
def test_encoder(tmp_path):
    result = run_quick("encoder", tmp_path)
    assert [(row["dtype"], row["batch"]) for row in result["rows"]] == [
        ("float32", 2),
        ("float32", 4),
        ("bfloat16", 2),
        ("bfloat16", 4),
    ]
    for row in result["rows"]:
        assert row["share_of_peak"] > 0
        assert row["peak_memory_gb"] > 0
        peak = result["matmul"][row["dtype"]]["gflops_per_second"]
        assert row["gflops_per_second"] == pytest.approx(row["share_of_peak_of_bests"] * peak)
        assert row["gflops_per_second"] == pytest.approx(row["pairs_per_second"] * result["flops_per_pair"] / 1e9)


@pytest.mark.slow
def test_soft_router(tmp_path):
    result = run_quick("soft_router", tmp_path, "--one-hot-budget", "0.002")
    measured = {(row["layer"], row["tokens"], row["dtype"]): row for row in result["rows"]}
    assert {key[:2] for key in measured} == {
        ("soft router", 64),
        ("soft router", 128),
        ("soft router", 256),
        ("dense", 64),
        ("dense", 128),
        ("dense", 256),
        ("one-hot", 64),
        ("one-hot", 128),
    }
    assert [entry["tokens"] for entry in result["one_hot_left_out"]] == [256]
    for (_, tokens, dtype), row in measured.items():
        dense = measured["dense", tokens, dtype]["best_seconds"]
        assert row["ratio_to_dense"] == pytest.approx(row["best_seconds"] / dense)
        assert row["peak_memory_gb"] > 0
    whats = [line["what"] for line in result["lines"]]
    assert "soft router, bfloat16: memory when tokens double, worst" in whats


@pytest.mark.slow
def test_pretraining_tasks(tmp_path):
    result = run_quick(
        "pretraining_tasks", tmp_path, "--batch", "2", "--memory-batches", "2", "4", "--dtype", "float32"
    )
    rows = {row["tasks"]: row for row in result["rows"]}
    ours, full = rows["MLM + MIM"], rows["MLM + ITC + ITM + MIM"]
    assert len(rows) == 5
    assert ours["time_ratio"] == 1
    assert full["paper_time_ratio"] == pytest.approx(3.61, abs=0.01)
    assert full["time_ratio"] == pytest.approx(ours["pairs_per_second"] / full["pairs_per_second"])
    # Four more encoder passes over whole pairs take more memory at any size.
    assert full["memory_gb_per_pair"] > ours["memory_gb_per_pair"] > 0
    assert ours["largest_batch"] == 16


def test_text_trimming(tmp_path):
    captions = tmp_path / "captions.json"
    sentences = [{"raw": "a red circle above a small green square"}, {"raw": "two blue triangles"}]
    captions.write_text(json.dumps({"images": [{"sentences": sentences}]}))
    result = run_quick("text_trimming", tmp_path, "--captions", str(captions), "--batch", "4", "--batches", "1")
    padded, *others = result["rows"]
    assert [padded["texts"], *(row["texts"] for row in others)] == ["padded", "trimmed", "trimmed, of similar length"]
    for row in others:
        assert result["speedup"][row["texts"]] == pytest.approx(padded["best_seconds"] / row["best_seconds"])
    assert result["settings"]["captions"] == "captions.json"
    assert sum(result["lengths"].values()) == 2
    longest = result["mean_longest_of_a_batch"]
    assert result["mean_length"] <= longest["trimmed"] <= longest["padded"] == 40


def test_text_trimming_refuses_a_file_that_holds_no_captions(tmp_path):
    path = tmp_path / "other.json"
    path.write_text('{"questions": []}')
    with pytest.raises(UserError, match=r"other\.json is neither COCO's captions json nor Karpathy's"):
        text_trimming(["--quick", "--captions", str(path), "--out", str(tmp_path)])


def test_a_pair_through_base_takes_141_gflop():
    assert encoder_flops(EveConfig.named("base"), num_text=40) == pytest.approx(141e9, rel=0.02)


def test_flops_are_those_that_torch_counts():
    from torch.utils.flop_counter import FlopCounterMode

    from eve_core.model import EveModel

    # Without soft routers, whose grouped product the counter does not know.
    config = EveConfig.named("tiny", num_soft_router_layers=0)
    pictures, texts = torch.randn(2, 3, 64, 64), torch.randint(1, 2000, (2, 40))
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        EveModel(config).eval()(pixel_values=pictures, input_ids=texts)
    assert counter.get_total_flops() == pytest.approx(2 * encoder_flops(config, num_text=40) / 3, rel=0.01)


def test_contestants_take_turns():
    calls: list[str] = []
    contestants = {name: lambda name=name: calls.append(name) for name in "ab"}
    timings = take_turns(contestants, CPU, rounds=3, description="")
    assert calls == ["a", "b"] * 4
    assert all(len(timing.seconds) == 3 for timing in timings.values())


def test_peak_memory_is_what_a_call_holds():
    assert peak_memory(operator.mul, b"x", 200_000_000, device=CPU) == pytest.approx(200e6, rel=0.05)


def test_one_hot_dispatch_equals_a_loop_over_tokens():
    torch.manual_seed(0)
    # Two experts, both of which every token chooses: nothing is dropped.
    layer = OneHotRouter(EveConfig.named("tiny", num_experts=2))
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=0.1)
    hidden = torch.randn(2, 3, 128)
    output = layer(hidden)
    for sample, place in torch.ones(2, 3).nonzero().tolist():
        token = layer.norm(hidden[sample, place])
        expected = torch.zeros(128)
        for expert, gate in enumerate((layer.gate.weight @ token).softmax(0)):
            inner = token @ layer.fc1_weight[expert] + layer.fc1_bias[expert, 0]
            inner = inner * torch.sigmoid(1.702 * inner)
            expected += gate * (inner @ layer.fc2_weight[expert] + layer.fc2_bias[expert, 0])
        torch.testing.assert_close(output[sample, place], expected, rtol=1e-4, atol=1e-5)


def test_one_hot_dispatch_drops_what_exceeds_an_experts_capacity():
    # Four tokens that agree: of 8 experts, 2 are chosen, and each takes ceil(2 * 4 / 8) = 1 token.
    layer = OneHotRouter(EveConfig.named("tiny"))
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=0.1)
    output = layer(torch.randn(128).expand(1, 4, 128))
    assert output[0].abs().sum(1).gt(0).tolist() == [True, False, False, False]


def test_trimming_removes_padding_alone():
    batch = draw_batch(EveConfig.named("tiny"), [5, 9], CPU)
    trimmed = trim(batch)
    assert trimmed["input_ids"].shape == (2, 9)
    assert trimmed["attention_mask"].sum() == batch["attention_mask"].sum() == 14
    assert trimmed["token_mask"].sum() == batch["token_mask"].sum() > 0
    assert not (batch["token_mask"] & (batch["attention_mask"] == 0)).any()


@pytest.mark.slow
def test_pretraining_rate(tmp_path):
    result = run_quick("pretraining_rate", tmp_path)
    assert [row["mode"] for row in result["rows"]] == ["eager", "compiled"]
    for row in result["rows"]:
        assert row["pairs_per_second"] > 0
        assert row["mfu"] is None  # nobody states a peak for this processor


@pytest.mark.slow
def test_prepare(tmp_path):
    result = run_quick("prepare", tmp_path)
    assert {row["work"] for row in result["rows"]} == {"prepare", "decode"}
    assert all(row["pictures_per_second"] > 0 for row in result["rows"])


@pytest.mark.slow
def test_training(tmp_path):
    result = run_quick("training", tmp_path)
    assert 0 < result["overhead"] < 1
    checkpoint, written = result["rows"][1:]
    assert result["stall"] == pytest.approx(checkpoint["median_seconds"] / written["median_seconds"])
    assert result["checkpoint_gb"] > 0


@pytest.mark.slow
def test_evaluation(tmp_path):
    result = run_quick("evaluation", tmp_path)
    assert [row["what"] for row in result["rows"]][-1] == "promotion"
    assert all(row["best_seconds"] > 0 for row in result["rows"])


@pytest.mark.slow
def test_pretraining_gain(tmp_path):
    rows = run_quick("pretraining_gain", tmp_path)["rows"]
    assert [(row["task"], row["way"]) for row in rows] == [("nlvr2", "from scratch"), ("nlvr2", "pre-trained")]
