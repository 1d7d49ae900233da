"""The soft router: what it computes, told token by token, and what its loss measures."""

import pytest
import torch
from torch import nn

from eve_core.model import EveConfig, EveForPreTraining
from eve_core.model.experts import Experts, quick_gelu
from eve_core.model.sequence import TokenLayout
from eve_core.model.soft_router import SoftRouter


def balance(routing) -> torch.Tensor:
    return routing.use.load_balance_loss()


def layout_of(real: torch.Tensor, num_vision: int) -> TokenLayout:
    return TokenLayout(num_vision, real, padded=not bool(real.all()))


def router_of(config: EveConfig, **changes) -> SoftRouter:
    for name, value in changes.items():
        setattr(config, name, value)
    router = SoftRouter(config)
    for parameter in router.parameters():
        nn.init.normal_(parameter, std=0.3)
    return router


def route_one_by_one(router: SoftRouter, hidden: torch.Tensor, is_text: torch.Tensor, real: torch.Tensor):
    """Paper eq. 4-6, one token and one expert at a time; returns the outputs and the load-balance loss of eq. 7."""
    config, experts = router.config, router.experts
    output = torch.zeros_like(hidden)
    probabilities, firsts = [], []
    for sample, place in real.nonzero().tolist():
        token = router.norm(hidden[sample, place])
        marked = token + (router.text_embedding if is_text[sample, place] else router.vision_embedding)
        p = (router.gate.weight @ marked).softmax(0)
        best = p.argsort(descending=True)[: config.num_experts_per_token].tolist()
        total = sum(p[e] for e in best) if config.renormalize_gates and len(best) > 1 else 1.0
        for e in best:
            inner = (marked if config.experts_see_modality else token) @ experts.fc1_weight[e] + experts.fc1_bias[e]
            inner = inner * torch.sigmoid(1.702 * inner)
            output[sample, place] += p[e] / total * (inner @ experts.fc2_weight[e] + experts.fc2_bias[e])
        probabilities.append(p)
        firsts.append(best[0])
    mean = torch.stack(probabilities).mean(0)
    loss = config.num_experts * sum(firsts.count(e) / len(firsts) * mean[e] for e in range(config.num_experts))
    return output, loss


@pytest.mark.parametrize("renormalize_gates", [True, False])
@pytest.mark.parametrize("experts_see_modality", [True, False])
@pytest.mark.parametrize("num_experts_per_token", [1, 2, 4])
def test_equals_a_plain_loop_over_tokens_and_experts(
    config, renormalize_gates, experts_see_modality, num_experts_per_token
):
    router = router_of(
        config,
        renormalize_gates=renormalize_gates,
        experts_see_modality=experts_see_modality,
        num_experts_per_token=num_experts_per_token,
    )
    hidden = torch.randn(2, 6, 32)
    is_text = (torch.arange(6) >= 3).expand(2, 6)
    real = torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0]]).bool()
    output, routing = router(hidden, layout_of(real, 3))
    expected, loss = route_one_by_one(router, hidden, is_text, real)
    torch.testing.assert_close(output, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(balance(routing), loss)
    assert torch.equal(output[1, 4:], torch.zeros(2, 32))


def test_no_mask_means_no_padding(config):
    router = router_of(config)
    hidden, real = torch.randn(2, 6, 32), torch.ones(2, 6, dtype=torch.bool)
    bare, _ = router(hidden, TokenLayout(3, real, padded=False))
    masked, _ = router(hidden, TokenLayout(3, real, padded=True))
    torch.testing.assert_close(bare, masked)


def sorting_router(config: EveConfig) -> SoftRouter:
    """Sends a token to the expert that the largest of its first four values names."""
    router = router_of(config)
    router.norm = nn.Identity()
    nn.init.zeros_(router.vision_embedding)
    nn.init.zeros_(router.text_embedding)
    with torch.no_grad():
        router.gate.weight.copy_(10 * torch.eye(4, 32))
    return router


@torch.no_grad()
def test_load_balance_loss_is_one_when_experts_are_used_evenly_and_their_number_when_one_is_used_alone(config):
    router = sorting_router(config)
    layout = layout_of(torch.ones(1, 8, dtype=torch.bool), 8)
    even = torch.eye(4, 32).repeat(2, 1)[None]
    assert float(balance(router(even, layout)[1])) == pytest.approx(1.0, abs=1e-5)
    one = torch.eye(4, 32)[:1].repeat(8, 1)[None]
    assert float(balance(router(one, layout)[1])) == pytest.approx(4.0, abs=0.01)


def test_load_is_the_share_of_choices_by_modality(config):
    config.num_experts_per_token = 1
    router = sorting_router(config)
    hidden = torch.eye(4, 32)[[0, 0, 1, 3, 2, 2]][None]
    _, routing = router(hidden, layout_of(torch.ones(1, 6, dtype=torch.bool), 4))
    assert routing.vision_load.tolist() == [0.5, 0.25, 0.0, 0.25]
    assert routing.text_load.tolist() == [0.0, 0.0, 1.0, 0.0]
    assert int(routing.dead_experts) == 0
    _, routing = router(hidden[:, :3], layout_of(torch.ones(1, 3, dtype=torch.bool), 3))
    assert int(routing.dead_experts) == 2


@torch.no_grad()
def test_entropy_is_one_where_all_experts_are_alike_and_nought_where_one_is_certain(config):
    router = sorting_router(config)
    layout = layout_of(torch.ones(1, 4, dtype=torch.bool), 4)
    assert float(router(torch.zeros(1, 4, 32), layout)[1].entropy) == pytest.approx(1.0)
    assert float(router(10 * torch.eye(4, 32)[None], layout)[1].entropy) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("act", ["quick_gelu", "gelu"])
@pytest.mark.parametrize("width", [18, 20])
def test_any_width_is_computed_in_groups(width, act):
    """grouped_mm takes rows of whole 16 bytes alone."""
    fields = {"hidden_size": width, "num_attention_heads": 2, "intermediate_size": 30, "hidden_act": act}
    config = EveConfig.named("tiny", num_experts=3, experts_backend="grouped_mm", **fields)
    experts, rows, counts = Experts(config), torch.randn(7, width), torch.tensor([4, 0, 3])
    for name, parameter in experts.named_parameters():
        torch.nn.init.normal_(parameter, std=0.5, generator=torch.Generator().manual_seed(len(name)))
    activation = quick_gelu if act == "quick_gelu" else torch.nn.functional.gelu
    expected = []
    for expert, own in enumerate(rows.split(counts.tolist())):
        hidden = activation(own @ experts.fc1_weight[expert] + experts.fc1_bias[expert])
        expected.append(hidden @ experts.fc2_weight[expert] + experts.fc2_bias[expert])
    torch.testing.assert_close(experts(rows, counts), torch.cat(expected))


def test_the_backends_agree_in_outputs_and_gradients(config):
    torch.manual_seed(0)
    router = router_of(config)
    layout = layout_of((torch.arange(10) < torch.tensor([10, 7, 9])[:, None]), 4)
    results = []
    for backend in ("grouped_mm", "loop"):
        router.experts.backend = backend
        router.zero_grad()
        hidden = torch.linspace(-2, 2, 3 * 10 * 32).view(3, 10, 32).sin().requires_grad_()
        output, routing = router(hidden, layout)
        (output.square().sum() + balance(routing)).backward()
        results.append([output.detach(), hidden.grad, *(parameter.grad.clone() for parameter in router.parameters())])
    for grouped, looped in zip(*results, strict=True):
        assert float((grouped - looped).norm() / looped.norm()) < 1e-4


def test_official_capacity_serves_first_choices_in_order_and_drops_the_rest(config):
    config.official_routing, config.capacity_factor = True, 0.1  # 8 tokens, 4 experts: at most four a piece
    router = sorting_router(config)
    hidden = (2 * torch.eye(4, 32)[0] + torch.eye(4, 32)[1]).repeat(8, 1)[None]  # all choose expert 0, then 1
    output, _ = router(hidden, layout_of(torch.ones(1, 8, dtype=torch.bool), 8))
    assert output[0, :4].abs().sum(-1).gt(0).all()
    assert output[0, 4:].abs().sum() == 0


def test_noise_moves_second_choices_and_never_first_ones(config):
    config.second_expert_noise = True
    router = router_of(config)
    probabilities = torch.tensor([[0.4, 0.3, 0.2, 0.1]]).repeat(200, 1)
    first, second = router._choose(probabilities).T
    assert first.eq(0).all()
    assert {*second.tolist()} == {1, 2, 3}


def test_every_parameter_has_a_gradient_also_an_expert_without_tokens(config, pairs):
    model = EveForPreTraining(config)
    routers = [module for module in model.modules() if isinstance(module, SoftRouter)]
    with torch.no_grad():
        for router in routers:  # everything goes to experts 0 and 1
            direction = torch.randn(32)
            router.vision_embedding.copy_(10 * direction)
            router.text_embedding.copy_(10 * direction)
            router.gate.weight.copy_(torch.stack([direction, 0.9 * direction, -direction, -direction]))
    batch = pairs(2)
    output = model(
        **batch,
        visible_patches=torch.arange(4).expand(2, 4),
        masked_patches=torch.arange(4, 16).expand(2, 12),
        masked_input_ids=batch["input_ids"],
        token_mask=batch["attention_mask"].bool(),
    )
    (output.patch_predictions.sum() + output.token_logits.logsumexp(-1).sum() + output.load_balance_loss).backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []
    for router in routers:
        assert router.experts.fc1_weight.grad[0].abs().sum() > 0
        assert router.experts.fc1_weight.grad[2:].abs().sum() == 0
