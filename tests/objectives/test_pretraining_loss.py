"""The pre-training objective, for every set of tasks: what the loss is made of, and whom it teaches."""

from functools import partial

import pytest
import torch
from torch.nn.parallel import DistributedDataParallel
from torch.utils._python_dispatch import TorchDispatchMode

from eve_core.objectives import pretraining_loss
from eve_core.objectives.pretraining_loss import patch_targets

loss_of = partial(pretraining_loss, load_balance_weight=0.001)

# Fields of EveConfig, and how often a step runs the encoder.
VARIANTS = {
    "mlm": ({"pretraining_tasks": ["mlm"]}, 1),
    "mim": ({"pretraining_tasks": ["mim"]}, 1),
    "mlm + mim": ({}, 2),
    "mlm + mim + itc": ({"pretraining_tasks": ["mlm", "mim", "itc"]}, 4),
    "mlm + itc + itm": ({"pretraining_tasks": ["mlm", "itc", "itm"]}, 4),
    "all": ({"pretraining_tasks": ["mlm", "mim", "itc", "itm"]}, 5),
    "itc": ({"pretraining_tasks": ["itc"]}, 2),
    "joint": ({"joint_masking": True}, 1),
    "joint with mask tokens": ({"joint_masking": True, "mask_tokens_in_encoder": True}, 1),
    "mask tokens": ({"mask_tokens_in_encoder": True}, 2),
    "mask tokens, mim": ({"mask_tokens_in_encoder": True, "pretraining_tasks": ["mim"]}, 1),
    "no soft router": ({"num_soft_router_layers": 0}, 2),
    "shared": ({"ffn_types": ["hard", "shared"]}, 2),
    "one expert a token": ({"num_experts_per_token": 1}, 2),
    "no modality routing": ({"modality_routing": False}, 2),
}


@pytest.fixture(params=VARIANTS)
def variant(request):
    return VARIANTS[request.param]


@torch.no_grad()
def test_the_parts_of_masked_signal_modelling_by_hand(network, batch_of):
    model = network()
    batch = batch_of(model)
    losses, output = loss_of(model, batch), model(**batch)
    mlm, row = [], 0
    for sample, place in batch["token_mask"].nonzero().tolist():
        mlm.append(-output.token_logits[row].log_softmax(-1)[batch["input_ids"][sample, place]])
        row += 1
    assert row == len(output.token_logits)
    mim = []
    for sample in range(len(batch["pixel_values"])):
        for place, patch in enumerate(batch["masked_patches"][sample].tolist()):
            y, x = 8 * (patch // 4), 8 * (patch % 4)
            target = batch["pixel_values"][sample, :, y : y + 8, x : x + 8].permute(1, 2, 0).flatten()
            mim.append(((output.patch_predictions[sample, place] - target) ** 2).mean())
    torch.testing.assert_close(losses.parts["mlm"], torch.stack(mlm).mean())
    torch.testing.assert_close(losses.parts["mim"], torch.stack(mim).mean())
    torch.testing.assert_close(losses.parts["load_balance"], output.load_balance_loss)


@torch.no_grad()
def test_the_loss_is_the_sum_of_its_tasks_and_the_weighted_load_balance(network, batch_of, variant):
    model = network(**variant[0])
    batch = batch_of(model)
    for weight in (0.0, 0.001, 0.5):
        torch.manual_seed(0)  # of the hard negatives
        losses = pretraining_loss(model, batch, load_balance_weight=weight)
        tasks = {name: value for name, value in losses.parts.items() if name in ("mlm", "mim", "itc", "itm")}
        assert tasks.keys() == {*model.config.pretraining_tasks}
        torch.testing.assert_close(losses.total, sum(tasks.values()) + weight * losses.parts["load_balance"])


def test_every_parameter_has_a_gradient(network, batch_of, variant):
    model = network(**variant[0])
    loss_of(model, batch_of(model)).total.backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []
    for head in ("pixel_decoder", "token_predictor", "alignment"):
        if hasattr(model, head):
            assert sum(parameter.grad.abs().sum() for parameter in getattr(model, head).parameters()) > 0


class _MostAddedToOneRow(TorchDispatchMode):
    """How many rows of a gradient `index_put_` adds to one and the same row, at most: threads do so in any order."""

    most = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function.overloadpacket in (
            torch.ops.aten.index_put,
            torch.ops.aten.index_put_,
            torch.ops.aten._index_put_impl_,
        ):
            indices, accumulate = args[1], args[3] if len(args) > 3 else False
            if accumulate and (numbered := [each for each in indices if each is not None and each.dtype == torch.long]):
                rows = torch.stack([each.reshape(-1) for each in torch.broadcast_tensors(*numbered)])
                self.most = max(self.most, int(rows.unique(dim=1, return_counts=True)[1].max()))
        return function(*args, **(kwargs or {}))


def test_a_gradient_is_the_same_to_the_last_bit_whichever_thread_comes_first(network, batch_of, variant):
    model = network(**variant[0])
    loss = loss_of(model, batch_of(model)).total
    with _MostAddedToOneRow() as seen:
        loss.backward()
    assert seen.most <= 2  # 0 + a + b is 0 + b + a; three are not


@pytest.mark.parametrize("name", ["mlm + mim", "all", "mim", "mask tokens, mim"])
def test_data_parallelism_finds_no_parameter_without_gradient(network, batch_of, tmp_path, name):
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    try:
        model = network(**VARIANTS[name][0])
        wrapped, batch = DistributedDataParallel(model), batch_of(model)
        for _ in range(2):  # the second step is where it complains about the first
            loss_of(wrapped, batch).total.backward()
    finally:
        torch.distributed.destroy_process_group()


def test_a_step_runs_the_encoder_once_a_pass(network, batch_of, variant):
    fields, passes = variant
    model = network(**fields)
    calls = []
    model.backbone.register_forward_hook(lambda *_: calls.append(1))
    loss_of(model, batch_of(model))
    assert len(calls) == passes


@torch.no_grad()
def test_joint_masking_hides_the_masked_words_from_the_patches_and_the_other_way_round(network, batch_of):
    model = network(joint_masking=True, layer_scale_init=1.0, initializer_range=0.2)
    batch = batch_of(model)
    predicted = model(**batch)
    other_words = {**batch, "input_ids": batch["input_ids"].masked_fill(batch["token_mask"], 7)}
    assert torch.equal(model(**other_words).patch_predictions, predicted.patch_predictions)
    other_pixels = {**batch, "pixel_values": batch["pixel_values"].clone()}
    hidden = batch["masked_patches"][0, 0].item()
    other_pixels["pixel_values"][0, :, 8 * (hidden // 4) :, 8 * (hidden % 4) :][:, :8, :8] = 3.0
    assert torch.equal(model(**other_pixels).token_logits, predicted.token_logits)


@torch.no_grad()
def test_matching_never_takes_a_caption_of_the_same_picture_for_a_negative(network, batch_of):
    model = network(pretraining_tasks=["itc", "itm"])
    batch = batch_of(model, step=1)  # several captions of every picture
    ids = batch["image_ids"]
    assert len(ids.unique()) < len(ids)
    passes = []
    model.backbone.register_forward_hook(lambda _, given, __: passes.append(given))
    loss_of(model, batch)
    pictures, texts, _ = passes[-1]
    assert len(pictures) == 3 * len(ids)
    owner = [ids[(batch["pixel_values"] == picture).flatten(1).all(1)][0].item() for picture in pictures]
    caption_of = [ids[(batch["input_ids"] == text).all(1)].tolist() for text in texts]
    assert all(owner[row] in caption_of[row] for row in range(len(ids)))
    assert not any(owner[row] in caption_of[row] for row in range(len(ids), len(owner)))


def test_patch_targets_are_the_pixels_of_the_masked_patches(network):
    config = network(image_size=16).config
    pictures = torch.arange(2 * 3 * 16 * 16).float().view(2, 3, 16, 16)
    targets = patch_targets({"pixel_values": pictures, "masked_patches": torch.tensor([[3, 0], [1, 2]])}, config)
    assert targets.shape == (2, 2, 192)
    assert torch.equal(targets[0, 0], pictures[0, :, 8:, 8:].permute(1, 2, 0).flatten())
    assert torch.equal(targets[1, 0], pictures[1, :, :8, 8:].permute(1, 2, 0).flatten())


def test_normalised_targets_by_hand(network):
    config = network(image_size=2, patch_size=1, num_channels=4, normalize_pixel_targets=True).config
    pictures = torch.zeros(1, 4, 2, 2)
    pictures[0, :, 0, 1] = torch.tensor([1.0, 2.0, 3.0, 6.0])  # mean 3, sum of squared deviations 4 + 1 + 0 + 9
    targets = patch_targets({"pixel_values": pictures, "masked_patches": torch.tensor([[1, 2]])}, config)
    deviation = (14 / 3 + 1e-6) ** 0.5
    torch.testing.assert_close(targets[0, 0], torch.tensor([-2.0, -1.0, 0.0, 3.0]) / deviation)
    assert torch.equal(targets[0, 1], torch.zeros(4))  # a patch of one colour


@torch.no_grad()
def test_routers_are_reported_by_their_block(network, batch_of):
    model = network(num_hidden_layers=3, ffn_types=["soft", "hard", "soft"])
    batch = batch_of(model)
    parts, routing = loss_of(model, batch).seen, model(**batch).routing
    reported = {name: value.tolist() for name, value in parts.items() if name.startswith("router/")}
    assert reported == {
        f"router/{block}/{name}": routing[place][name].tolist()
        for place, block in enumerate((0, 2))
        for name in ("entropy", "dead_experts", "vision_load", "text_load")
    }
    assert len(reported["router/0/vision_load"]) == model.config.num_experts


def test_parts_are_reported_and_never_minimised(network, batch_of):
    model = network(pretraining_tasks=["mlm", "mim", "itc", "itm"])
    parts = loss_of(model, batch_of(model)).seen
    assert [name for name, value in parts.items() if value.requires_grad] == []
    assert {name for name, value in parts.items() if value.dim()} == {"router/1/vision_load", "router/1/text_load"}
