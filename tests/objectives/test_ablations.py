"""Every row of the paper's studies that docs/ablations.md offers is a configuration that trains."""

import re
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from eve_core.config import ModelConfig, PretrainingConfig
from eve_core.data.collation import Collator
from eve_core.model import EveForPreTraining
from eve_core.objectives import MaskedPairs, pretraining_loss
from eve_core.training.pretraining import network_config

PAGE = Path(__file__).parents[2] / "docs" / "ablations.md"
# How many rows of the paper each study has that can be had; tables 3 and 6 lack some, and have others besides.
PAPER = {"Table 1": 5, "Table 5": 4, "Table 7": 5, "Table 8": 2, "Figure 4": 9, "Figure 5": 8}
REQUIRED = {
    "data": [{"set": "flickr8k", "splits": ["train"]}],
    "optimization": {"steps": 1, "batch_size": 2, "learning_rate": 0.001},
}
# Small, and as deep as EVE-Base, because some rows name the kind of every block.
SMALL = {
    "image_size": 32,
    "patch_size": 8,
    "max_text_length": 24,
    "hidden_size": 16,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "decoder_num_layers": 1,
    "decoder_hidden_size": 16,
    "decoder_num_attention_heads": 2,
}


def merged(tree: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    """`tree` with `more` over it, mappings joined."""
    inner = {key: merged(tree[key], value) for key, value in more.items() if isinstance(tree.get(key), dict)}
    return {**tree, **more, **inner}


def rows() -> dict[str, dict[str, Any]]:
    """The settings of every row that has some, by study and row; blocks of YAML hold for the rest of their study."""
    found: dict[str, dict[str, Any]] = {}
    preface, *studies = re.split(r"^## ", PAGE.read_text(), flags=re.MULTILINE)
    for study in studies:
        common: dict[str, Any] = {}
        for block in re.findall(r"^```yaml\n(.*?)^```", preface + study, flags=re.MULTILINE | re.DOTALL):
            common = merged(common, yaml.safe_load(block))
        title = study.split(":")[0]
        for number, snippet in enumerate(re.findall(r"^\|[^|]*\| `([^`]*)` \|", study, flags=re.MULTILINE)):
            found[f"{title}, {number + 1}"] = merged(common, yaml.safe_load(snippet))
    return found


ROWS = rows()


def build(row: str) -> tuple[PretrainingConfig, ModelConfig]:
    settings = ROWS[row]
    assert settings.keys() <= {"pretraining", "model"}
    pretraining = PretrainingConfig.model_validate({**REQUIRED, **settings.get("pretraining", {})})
    return pretraining, ModelConfig.model_validate(settings["model"])


@pytest.mark.parametrize(("study", "number"), PAPER.items())
def test_the_page_has_every_row_of_the_paper(study, number):
    assert [row for row in ROWS if row.startswith(f"{study},")] == [f"{study}, {i + 1}" for i in range(number)]


@pytest.mark.parametrize("study", sorted({row.split(",")[0] for row in ROWS}))
def test_rows_of_a_study_are_different_models_or_objectives(study):
    digests = []
    for row in (row for row in ROWS if row.startswith(f"{study},")):
        pretraining, model = build(row)
        settings = pretraining.model_dump(exclude={"data", "optimization"})
        digests.append(str((sorted(settings.items()), network_config(pretraining, model).to_dict())))
    # Figure 4 has the default twice, in either of its curves.
    assert len(digests) - len({*digests}) == (1 if study == "Figure 4" else 0)


@pytest.mark.parametrize("row", ROWS)
def test_a_row_trains(captions, prepared, preprocessor, row):
    pretraining, model_config = build(row)
    overrides = {**model_config.overrides, **SMALL}
    config = network_config(pretraining, ModelConfig(size=model_config.size, overrides=overrides))
    config.vocab_size = len(preprocessor.tokenizer)
    assert config.num_hidden_layers >= 12
    torch.manual_seed(0)
    model = EveForPreTraining(config).train()
    ratios = pretraining.image_mask_ratio, pretraining.text_mask_ratio
    pairs = MaskedPairs(captions, prepared.images, preprocessor, config, *ratios)
    examples = [pairs.example(index, np.random.default_rng(index)) for index in (0, 9)]
    objective = partial(pretraining_loss, load_balance_weight=pretraining.load_balance_weight)
    losses = objective(model, Collator(preprocessor.tokenizer.pad_token_id)(examples))
    losses.total.backward()
    assert torch.isfinite(losses.total)
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters())
