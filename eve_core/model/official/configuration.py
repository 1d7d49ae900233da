"""Our configuration of an official network: what its config json says, and what its weights show.

The config json knows neither picture nor text nor answers; their sizes are the weights' own. Where both speak of the
same size, they have to agree.
"""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from eve_core.errors import UserError
from eve_core.model.configuration import EveConfig

# What the weights cannot show.
_NEEDED = ("num_attention_heads", "hidden_act")
# What the official code has other values for, which do not exist here. Its gate takes two experts whatever topk says.
_SUPPORTED = {"relative_position_embed": False, "ffn_type": "moe", "single_ffn.type": "vl", "moe_param.topk": 2}
# The sizes that the weights show: the tensors that do, and in which dimension.
_SIZES = {
    "vision_width": (r"^backbone\..*norm\w*\.weight$", 0),
    "patch_size": (r"^backbone\.patch_embed\.weight$", 2),
    "vocab_size": (r"^backbone\.word_embedding\.weight$", 0),
    "intermediate_size": (r"^backbone\..*\.fc1\.bias$", 0),
    "moe_param.num_experts": (r"^backbone\..*\.gate\.wg\.weight$", 0),
    "texts.max_tokens": (r"^backbone\.pos_embed_text$", 0),
}
_BI_ATTENTION = ("attn1.", "attn2.", "fc.", "attn_pool.", "nlvr2_output.")

State = Mapping[str, torch.Tensor]


def our_config(
    state: State, official: Mapping[str, Any], task: str, answers: Sequence[str] | None, **fields: Any
) -> tuple[EveConfig, list[str]]:
    """The configuration of the model that `state` fills.

    Args:
        state: an official state dict, perhaps incomplete.
        official: the official config json.
        task: vqa, nlvr2, retrieval or backbone.
        answers: of vqa, one a row of its head.
        fields: further fields of EveConfig.

    Returns:
        The configuration, and in words where config and weights contradict each other. There the weights count, so
        that whoever compares them with the configuration finds what else is wrong.

    Raises:
        UserError: the config describes no network of this project, or the answers are not those of the head.
    """
    _check(official)
    problems: list[str] = []
    sizes = {key: _settle(key, _get(official, key), seen, problems) for key, seen in _shown(state, problems).items()}
    patch, layers = sizes["patch_size"] or 16, sizes["num_hidden_layers"] or 1
    ffn_types = ["soft" if index in (sizes["moeffn_layers"] or []) else "hard" for index in range(layers)]
    ours = {
        "vocab_size": sizes["vocab_size"],
        "max_text_length": sizes["texts.max_tokens"],
        "image_size": patch * _grid_side(state, problems),
        "patch_size": patch,
        "hidden_size": sizes["vision_width"],
        "num_hidden_layers": layers,
        "num_attention_heads": official["num_attention_heads"],
        "intermediate_size": sizes["intermediate_size"],
        "hidden_act": official["hidden_act"],
        "num_soft_router_layers": ffn_types.count("soft"),
        "ffn_types": ffn_types,
        "modality_norms": True,
        "embedding_norms": True,
        "num_experts": sizes["moe_param.num_experts"],
        "num_experts_per_token": 2,
        "modality_routing": sizes["moe_param.type_route"],
        "renormalize_gates": True,
        "experts_see_modality": True,
        "drop_path_rate": official.get("drop_path_rate", 0.0),
        "num_labels": _num_answers(state, task, answers),
    }
    if task == "nlvr2" and any(key.startswith(_BI_ATTENTION) for key in state):
        ours["visual_reasoning_head"] = "bi_attention"
    known = {name: value for name, value in ours.items() if value is not None}
    try:
        config = EveConfig(**{**known, **fields})
    except ValueError as error:
        raise UserError(f"the official config cannot be converted: {'; '.join([*problems, str(error)])}") from None
    if task != "backbone":
        config.task = task
    if answers is not None:
        config.id2label = dict(enumerate(answers))
        config.label2id = {answer: index for index, answer in enumerate(answers)}
    return config, problems


def _check(official: Mapping[str, Any]) -> None:
    """Refuse a config of a network that does not exist here, and values that are none."""
    problems = [f"it lacks {key}" for key in _NEEDED if _get(official, key) is None]
    for key, value in _SUPPORTED.items():
        if _get(official, key) not in (None, value):
            problems.append(f"{key} is {_get(official, key)!r}, and only {value!r} is supported")
    for key in ("num_attention_heads", "num_hidden_layers", *_SIZES):
        number = _get(official, key)
        if number is not None and (type(number) is not int or number < 1):
            problems.append(f"{key} is {number!r}, not a whole number above 0")
    layers = _get(official, "moeffn_layers")
    if layers is not None and not (isinstance(layers, list) and all(type(layer) is int for layer in layers)):
        problems.append(f"moeffn_layers is {layers!r}, not a list of whole numbers")
    rate = official.get("drop_path_rate", 0.0)
    if not (isinstance(rate, int | float) and 0 <= rate < 1):
        problems.append(f"drop_path_rate is {rate!r}, not a number from 0 to 1")
    if problems:
        raise UserError(f"the official config cannot be converted: {'; '.join(problems)}")


def _shown(state: State, problems: list[str]) -> dict[str, list[tuple[Any, str]]]:
    """For every key of the config that the weights speak of: what they show, each time with the name that shows it."""
    shown: dict[str, list[tuple[Any, str]]] = {}
    for key, (pattern, dim) in _SIZES.items():
        tensors = [(value, name) for name, value in state.items() if re.match(pattern, name) and value.dim() > dim]
        shown[key] = [(value.shape[dim], name) for value, name in tensors if value.shape[dim]]
    experts = Counter(found[1] for name in state if (found := re.match(r"(.*\.experts)\.\d+\.fc1\.bias$", name)))
    shown["moe_param.num_experts"] += [(number, name) for name, number in experts.items()]
    networks: dict[int, set[str]] = {}
    for name in state:
        if block := re.match(r"backbone\.encoder\.layers\.(\d+)\.(mlp_\w+)?", name):
            networks.setdefault(int(block[1]), set()).update(filter(None, [block[2]]))
    for index, kinds in sorted(networks.items()):
        if not kinds <= {"mlp_imag", "mlp_text"} and kinds != {"mlp_moe"}:
            problems.append(
                f"encoder.layers.{index} has {', '.join(sorted(kinds))}, "
                "and only mlp_imag with mlp_text, or mlp_moe alone, is supported"
            )
    soft = sorted(index for index, kinds in networks.items() if "mlp_moe" in kinds)
    routed = [name for name in state if re.search(r"\.moe\.(vision|text)_embed$", name)]
    # A block that lacks all its keys shows in the other blocks' numbers.
    depths = (len(networks), max(networks) + 1) if networks else ()
    shown["num_hidden_layers"] = [(depth, "encoder.layers.*") for depth in depths]
    shown["moeffn_layers"] = [(soft, "encoder.layers.*.mlp_moe")] if networks else []
    shown["moe_param.type_route"] = [(bool(routed), "mlp_moe.moe.vision_embed")] if soft else []
    return shown


def _settle(key: str, said: Any, seen: list[tuple[Any, str]], problems: list[str]) -> Any:
    """What the config says, if any tensor shows it; else what most tensors show; None where nothing speaks."""
    values = [value for value, _ in seen]
    if isinstance(said, list):
        said = sorted({*said})
    if not values or said in values:
        return said
    shown = max(values, key=values.count)
    if said is not None:
        name = dict((repr(value), name) for value, name in seen)[repr(shown)]
        problems.append(f"{key} is {said!r} in the config, and {shown!r} in the weights ({name})")
    return shown


def _grid_side(state: State, problems: list[str]) -> int:
    """Patches along a side of the picture, from the rows of the position table: one, and a square number."""
    table = state.get("backbone.pos_embed_vision")
    if table is None or table.dim() == 0:
        return 1
    rows = len(table)
    side = math.isqrt(max(rows - 1, 1))
    if side**2 != rows - 1:
        problems.append(f"backbone.pos_embed_vision has {rows} rows, not one more than a square number")
    return side


def _num_answers(state: State, task: str, answers: Sequence[str] | None) -> int | None:
    if task != "vqa":
        if answers is not None:
            raise UserError(f"there are no answers for {task}; leave them out, or give the task vqa")
        return None
    head = state.get("output.3.weight")
    rows = len(head) if head is not None and head.dim() else None
    if rows == 0:
        raise UserError("the head of the checkpoint (output.3.weight) has no rows; give one that was trained on VQA")
    if answers is not None:
        if not all(isinstance(answer, str) for answer in answers) or len({*answers}) != len(answers):
            raise UserError("the answers are not a list of different texts; give one a row of the head")
        if rows is not None and rows != len(answers):
            raise UserError(
                f"there are {len(answers)} answers, and the head (output.3.weight) has {rows} rows; "
                "give the answer list that the checkpoint was trained with"
            )
    return rows


def _get(config: Mapping[str, Any], key: str) -> Any:
    """The value of a key, or of a key within a key (outer.inner); None where there is none."""
    value: Any = config
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value
