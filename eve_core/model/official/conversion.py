"""An official state dict as a model of ours: every key accounted for, every shape checked."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from eve_core.errors import UserError
from eve_core.model.configuration import EveConfig
from eve_core.model.heads import EveForImageTextRetrieval, EveForVisualQuestionAnswering, EveForVisualReasoning
from eve_core.model.modeling import EveModel, EvePreTrainedModel
from eve_core.model.official.configuration import State, our_config

MODELS: dict[str, type[EvePreTrainedModel]] = {
    "vqa": EveForVisualQuestionAnswering,
    "nlvr2": EveForVisualReasoning,
    "retrieval": EveForImageTextRetrieval,
    "backbone": EveModel,
}

# Our names -> official names, one after the other; {expert} stands for each expert's number.
_NAMES = {
    r"\.vision_embeddings\.class_token$": ".class_embedding_vision",
    r"\.(vision|text)_embeddings\.type_embedding$": r".type_embed_\1",
    r"\.(vision|text)_embeddings\.position_embeddings$": r".pos_embed_\1",
    r"\.vision_embeddings\.patch_projection\.": ".patch_embed.",
    r"\.text_embeddings\.word_embeddings\.": ".word_embedding.",
    r"\.text_embeddings\.norm\.": ".layer_norm_text.",
    r"\.pre_norm\.": ".pre_layrnorm.",
    r"\.blocks\.": ".encoder.layers.",
    r"\.attention_norm\.": ".norm1.",
    r"\.attention\.projection\.": ".attn.proj.",
    r"\.attention\.": ".attn.",
    r"\.router\.norms\.vision\.": ".norm2_imag.",
    r"\.router\.norms\.text\.": ".norm2_text.",
    r"\.router\.vision\.": ".mlp_imag.",
    r"\.router\.text\.": ".mlp_text.",
    r"\.router\.norm\.": ".norm2_vl.",
    r"\.router\.(vision|text)_embedding$": r".mlp_moe.moe.\1_embed",
    r"\.router\.gate\.": ".mlp_moe.moe.gate.wg.",
    r"\.router\.experts\.(fc[12])_(weight|bias)$": r".mlp_moe.moe.experts.experts.{expert}.\1.\2",
    r"^alignment\.temperature$": "itc_temp",
    r"^alignment\.(vision|text)_projection\.": r"itc_\1_proj_head.",
    r"^alignment\.matching_head\.": "itm_head.",
}
_HEAD_NAMES = {
    "plain": {r"^head\.dense\.": "output.0.", r"^head\.norm\.": "output.1.", r"^head\.output\.": "output.3."},
    "bi_attention": {
        r"^head\.left_to_right\.": "attn1.",
        r"^head\.right_to_left\.": "attn2.",
        r"^head\.fuse\.": "fc.0.",
        r"^head\.pool\.": "attn_pool.fc.0.",
        r"^head\.output\.": "nlvr2_output.",
    },
}
# Counting buffers, and the mask token of a pre-training task that predicts visual tokens.
_WITHOUT_USE = re.compile(r"backbone\.(position_ids_vision|position_ids_text|mask_embed_vision)$")

_LISTED = 8


@dataclass(frozen=True)
class Conversion:
    """A converted checkpoint."""

    model: EvePreTrainedModel
    """Of the task, in evaluation mode and float32; its tensors are copies."""
    ignored: list[str]
    """Keys of the checkpoint that the model has no use for."""


def convert(
    state: State,
    official_config: Mapping[str, Any],
    task: str,
    *,
    image_size: int | None = None,
    answers: Sequence[str] | None = None,
    **fields: Any,
) -> Conversion:
    """Our model with the weights of an official state dict, all of them and no others.

    Args:
        state: an official state dict.
        official_config: the official config json of its network.
        task: vqa, nlvr2, retrieval, or backbone, which takes the encoder out of any of them.
        image_size: interpolate the patch positions to pictures of this side in pixels.
        answers: of vqa, what each row of its head stands for.
        fields: further fields of EveConfig.

    Returns:
        The model, and the keys without use.

    Raises:
        UserError: config and weights fit neither this project nor each other; it names all that contradicts, is
            missing or left over, or has another shape or values that are not finite.
    """
    if task not in MODELS:
        raise UserError(f"there is no task {task}; give one of {', '.join(MODELS)}")
    config, problems = our_config(state, official_config, task, answers, **fields)
    with torch.device("meta"):
        model = MODELS[task](config)
    keys = {name: _official_keys(name, task, config) for name in model.state_dict()}
    ignored = [key for key in state if _is_ignored(key, task)]
    shapes = {key: tuple(_part(value, name).shape) for name, value in model.state_dict().items() for key in keys[name]}
    problems += _mismatches({key: value for key, value in state.items() if key not in ignored}, shapes)
    if problems:
        raise UserError(
            f"the checkpoint cannot be converted as {task}: {'; '.join(problems)}. Give its own config and task"
        )
    weights = {name: _joined([state[key] for key in parts], name) for name, parts in keys.items()}
    model.load_state_dict(weights, strict=True, assign=True)
    if image_size is not None:
        _resize(model, image_size)
    return Conversion(model.eval(), ignored)


def _official_keys(ours: str, task: str, config: EveConfig) -> list[str]:
    """The official keys that one of our tensors is made of: its own, or one an expert."""
    key = f"backbone.{ours}" if task == "backbone" else ours
    for pattern, replacement in (_NAMES | _HEAD_NAMES[config.visual_reasoning_head]).items():
        key = re.sub(pattern, replacement, key)
    return [key.format(expert=expert) for expert in range(config.num_experts)] if "{expert}" in key else [key]


def _is_ignored(key: str, task: str) -> bool:
    return bool(_WITHOUT_USE.match(key)) or (task == "backbone" and not key.startswith("backbone."))


def _mismatches(state: State, shapes: Mapping[str, tuple[int, ...]]) -> list[str]:
    """What keeps `state` from filling these keys, a sentence a kind."""
    shared = [key for key in shapes if key in state]
    problems = {
        "missing keys": [key for key in shapes if key not in state],
        "left-over keys": [key for key in state if key not in shapes],
        "wrong shapes": [
            f"{key} {tuple(state[key].shape)} instead of {shapes[key]}"
            for key in shared
            if tuple(state[key].shape) != shapes[key]
        ],
        "not floating point": [key for key in shared if not state[key].is_floating_point()],
        "no plain tensors": [key for key in shared if not _is_plain(state[key])],
        "NaN or infinite values": [
            key for key in shared if _is_plain(state[key]) and not bool(torch.isfinite(state[key].float()).all())
        ],
    }
    return [f"{kind}: {_listed(found)}" for kind, found in problems.items() if found]


def _is_plain(value: torch.Tensor) -> bool:
    """Not sparse, and with values."""
    return value.layout == torch.strided and not value.is_meta


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more


def _joined(parts: list[torch.Tensor], ours: str) -> torch.Tensor:
    """One of our tensors from the official ones that it is made of; always a copy."""
    if _is_stacked(ours):
        return torch.stack([_swapped(part.float()) for part in parts])
    return parts[0].to(torch.float32, copy=True, memory_format=torch.contiguous_format)


def _part(value: torch.Tensor, ours: str) -> torch.Tensor:
    """One of our tensors -> each of the official ones that it is made of, for its shape."""
    return _swapped(value[0]) if _is_stacked(ours) else value


def _is_stacked(ours: str) -> bool:
    return ".experts." in ours


def _swapped(part: torch.Tensor) -> torch.Tensor:
    """An expert's matrix is official as (outputs, inputs) and ours as (inputs, outputs); both ways are the same."""
    return part.T if part.dim() == 2 else part


def _resize(model: EvePreTrainedModel, image_size: int) -> None:
    size = model.config.patch_size
    if image_size < size or image_size % size:
        raise UserError(f"pictures of {image_size} px do not divide into patches of {size} px; give a multiple")
    model.resize_images(image_size)
