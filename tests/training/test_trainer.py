"""The loop: which parameters learn how fast, and which of them decay."""

import errno
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import distributed, nn

from eve_core.data.schedule import ShuffledEpochs
from eve_core.errors import UserError
from eve_core.model import EveConfig, EveForImageTextRetrieval, EveForPreTraining
from eve_core.objectives import Losses
from eve_core.training.trainer import _agree, decays, train
from tests.training.conftest import optimization


class Numbers:
    """Pairs x -> 2 x."""

    def __init__(self, number: int = 12) -> None:
        self.number = number

    def __len__(self) -> int:
        return self.number

    def make(self, indices: Sequence[int], generators: Sequence[np.random.Generator]) -> list[dict[str, torch.Tensor]]:
        drawn = [torch.from_numpy(generator.standard_normal(3)).float() for generator in generators]
        return [{"x": x, "y": 2 * x} for x in drawn]


class TwoLayers(nn.Module):
    """An encoder and a head that start alike."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Linear(3, 3)
        self.head = nn.Linear(3, 3)
        for layer in (self.backbone, self.head):
            nn.init.eye_(layer.weight)
            nn.init.ones_(layer.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.backbone(x) + self.head(x)


def constant_gradient(model, batch, share=None):
    return Losses(sum(parameter.sum() for parameter in model.parameters()) + 0 * batch["x"].sum())


def no_gradient(model, batch, share=None):
    return Losses(0 * sum(parameter.sum() for parameter in model.parameters()))


def run(model, objective, scratch, *, examples=None, multiplier=1.0, **changes):
    return train(
        model,
        Numbers() if examples is None else examples,
        objective,
        optimization(**{"steps": 1, "warmup": 0.0, "learning_rate": 0.01, "weight_decay": 0.0, **changes}),
        seed=1,
        pad_token_id=0,
        description="testing",
        scratch=scratch,
        head_learning_rate_multiplier=multiplier,
    )


def test_the_head_learns_faster_by_its_multiplier(tmp_path):
    model, before = TwoLayers(), TwoLayers()
    run(model, constant_gradient, tmp_path, multiplier=5.0)  # the first step of Adam is the learning rate
    for layer, step in ((model.backbone, 0.01), (model.head, 0.05)):
        torch.testing.assert_close(before.head.weight - layer.weight, torch.full((3, 3), step), rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(before.head.bias - layer.bias, torch.full((3,), step), rtol=1e-4, atol=1e-6)


def test_matrices_decay_and_biases_do_not(tmp_path):
    model, before = TwoLayers(), TwoLayers()
    run(model, no_gradient, tmp_path, weight_decay=0.5, multiplier=2.0)
    torch.testing.assert_close(model.backbone.weight, before.backbone.weight * (1 - 0.01 * 0.5))
    torch.testing.assert_close(model.head.weight, before.head.weight * (1 - 0.02 * 0.5))
    assert torch.equal(model.backbone.bias, before.backbone.bias)
    assert torch.equal(model.head.bias, before.head.bias)


@pytest.mark.parametrize("model_class", [EveForPreTraining, EveForImageTextRetrieval])
def test_what_decays_in_the_network(model_class):
    with torch.device("meta"):
        model = model_class(EveConfig.named("tiny"))
    no_decay = {name for name, parameter in model.named_parameters() if not decays(name, parameter)}
    decayed = {name for name, _ in model.named_parameters()} - no_decay
    kinds = ("bias", "norm", "gamma", "class_token", "type_embedding", "position_embeddings", "mask_token")
    kinds = (*kinds, "vision_embedding", "text_embedding", "temperature")
    for name in no_decay:
        assert any(kind in name for kind in kinds), name
    for name in decayed:
        assert name.endswith(("weight", "fc1_weight", "fc2_weight")), name
        assert "norm" not in name
    for router in ("blocks.3.router.experts.fc1_bias", "blocks.3.router.experts.fc2_bias"):
        assert f"backbone.{router}" in no_decay  # stacked, and a bias all the same


def test_the_rate_rises_and_then_falls_to_nothing(tmp_path):
    history = run(TwoLayers(), constant_gradient, tmp_path, steps=10, warmup=0.3, schedule="linear")
    rates = [entry["learning_rate"] for entry in history]
    assert max(rates) == pytest.approx(0.01)
    assert rates[:3] == sorted(rates[:3])
    assert rates[3:] == sorted(rates[3:], reverse=True)


def test_training_learns(tmp_path):
    model = TwoLayers()
    history = run(
        model,
        lambda model, batch, share: Losses(((model(batch["x"]) - batch["y"]) ** 2).mean()),
        tmp_path,
        steps=60,
        learning_rate=0.1,
    )
    assert history[-1]["loss"] < 0.05 * history[0]["loss"]


def test_examples_come_in_the_order_of_the_schedule(tmp_path):
    class Recorded(Numbers):
        seen: list[int] = []  # noqa: RUF012 (one for the test)

        def make(self, indices, generators):
            self.seen += indices
            return super().make(indices, generators)

    run(TwoLayers(), constant_gradient, tmp_path, examples=Recorded(), steps=5, batch_size=4)
    schedule = ShuffledEpochs(Numbers(), 20, 1)
    assert Recorded.seen[:20] == [schedule.place(position)[1] for position in range(20)]


def test_the_examples_of_a_step_are_about_equally_long_where_that_is_asked_for(tmp_path):
    class Recorded(Numbers):
        seen: list[int] = []  # noqa: RUF012 (one for the test)

        def count_tokens(self):
            return np.arange(self.number) % 3

        def make(self, indices, generators):
            self.seen += indices
            return super().make(indices, generators)

    run(TwoLayers(), constant_gradient, tmp_path, examples=Recorded(), steps=3, batch_size=4, length_buckets=True)
    batches = [Recorded.seen[start : start + 4] for start in (0, 4, 8)]
    assert sorted(Recorded.seen[:12]) == list(range(12))
    assert [len({index % 3 for index in batch}) for batch in batches] == [1, 1, 1]


def test_pixels_reach_the_model_normalised(tmp_path):
    class Pictures(Numbers):
        def make(self, indices, generators):
            return [{"pixel_values": torch.full((3, 2, 2), 255, dtype=torch.uint8)} for _ in indices]

    def objective(model, batch, share):
        assert torch.equal(batch["pixel_values"], torch.ones(4, 3, 2, 2))
        return no_gradient(model, {"x": batch["pixel_values"]})

    run(TwoLayers(), objective, tmp_path, examples=Pictures(), batch_size=4)


def test_nothing_to_train_on_is_refused(tmp_path):
    with pytest.raises(UserError, match="testing: there is nothing to train on"):
        run(TwoLayers(), constant_gradient, tmp_path, examples=Numbers(0))


def test_a_folder_that_cannot_be_written_is_told_to_all_processes(monkeypatch):
    told: list[list] = []
    monkeypatch.setattr(distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(distributed, "get_rank", lambda: 0)
    monkeypatch.setattr(distributed, "broadcast_object_list", lambda answer: told.append([*answer]))

    def decide() -> None:
        raise PermissionError(errno.EACCES, "no", "/scratch")

    with pytest.raises(PermissionError):
        _agree(decide)
    assert isinstance(told[0][0], PermissionError)
