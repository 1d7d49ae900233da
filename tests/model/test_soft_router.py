"""The soft router: what it computes, told token by token, and what its loss measures."""

import pytest
import torch
from torch import nn

from eve_core.model import EveConfig, EveForPreTraining
from eve_core.model.soft_router import SoftRouter


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
        total = sum(p[e] for e in best) if config.renormalize_gates else 1.0
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
    output, routing = router(hidden, is_text, real)
    expected, loss = route_one_by_one(router, hidden, is_text, real)
    torch.testing.assert_close(output, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(routing.load_balance_loss, loss)
    assert torch.equal(output[1, 4:], torch.zeros(2, 32))


def test_no_mask_means_no_padding(config):
    router = router_of(config)
    hidden, is_text = torch.randn(2, 6, 32), (torch.arange(6) >= 3).expand(2, 6)
    bare, _ = router(hidden, is_text, None)
    masked, _ = router(hidden, is_text, torch.ones(2, 6, dtype=torch.bool))
    torch.testing.assert_close(bare, masked)


def sorting_router(config: EveConfig) -> SoftRouter:
    """Sends a token to the expert that the largest of its first four values names."""
    router = SoftRouter(config)
    router.norm = nn.Identity()
    nn.init.zeros_(router.vision_embedding)
    nn.init.zeros_(router.text_embedding)
    with torch.no_grad():
        router.gate.weight.copy_(10 * torch.eye(4, 32))
    return router


@torch.no_grad()
def test_load_balance_loss_is_one_when_experts_are_used_evenly_and_their_number_when_one_is_used_alone(config):
    router = sorting_router(config)
    is_text = torch.zeros(1, 8, dtype=torch.bool)
    even = torch.eye(4, 32).repeat(2, 1)[None]
    assert float(router(even, is_text, None)[1].load_balance_loss) == pytest.approx(1.0, abs=1e-5)
    one = torch.eye(4, 32)[:1].repeat(8, 1)[None]
    assert float(router(one, is_text, None)[1].load_balance_loss) == pytest.approx(4.0, abs=0.01)


def test_load_is_the_share_of_choices_by_modality(config):
    config.num_experts_per_token = 1
    router = sorting_router(config)
    hidden = torch.eye(4, 32)[[0, 0, 1, 3, 2, 2]][None]
    is_text = torch.tensor([[False, False, False, False, True, True]])
    _, routing = router(hidden, is_text, None)
    assert routing.vision_load.tolist() == [0.5, 0.25, 0.0, 0.25]
    assert routing.text_load.tolist() == [0.0, 0.0, 1.0, 0.0]


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
