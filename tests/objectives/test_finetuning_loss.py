"""The fine-tuning objective is the head's loss and the weighted load balance."""

import pytest
import torch

from eve_core.model import EveForImageTextRetrieval, EveForVisualQuestionAnswering
from eve_core.objectives import finetuning_loss


@pytest.mark.parametrize("weight", [0.0, 0.001, 0.5])
def test_the_load_balance_counts_by_its_weight(network, batch_of, weight):
    config = network(pretraining_tasks=["itc"]).config
    batch = batch_of(network(pretraining_tasks=["itc"]))
    retrieval = EveForImageTextRetrieval(config).eval()
    torch.manual_seed(0)  # of the hard negatives
    losses = finetuning_loss(retrieval, batch, load_balance_weight=weight)
    assert losses.parts.keys() == {"itc", "itm", "load_balance"}
    parts = losses.parts
    torch.testing.assert_close(losses.total.detach(), parts["itc"] + parts["itm"] + weight * parts["load_balance"])


def test_a_head_without_parts_reports_the_load_balance(network, batch_of):
    config = network(pretraining_tasks=["itc"]).config
    config.num_labels = 3
    batch = batch_of(network(pretraining_tasks=["itc"]))
    del batch["image_ids"]
    model = EveForVisualQuestionAnswering(config).eval()
    losses = finetuning_loss(
        model, {**batch, "labels": torch.rand(len(batch["input_ids"]), 3)}, load_balance_weight=0.1
    )
    assert losses.parts.keys() == {"load_balance"}
    assert losses.total.requires_grad
