"""What a run will take: parameters, memory, work, hours and cost, before anything starts."""

from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING

from eve_core.config import FinetuningConfig, LaunchConfig, OptimizationConfig, PoolConfig, RunConfig, TokenizerConfig
from eve_core.data.manifest import Manifest
from eve_core.data.sources.expected import published_counts
from eve_core.data.tokenizer.importing import load_tokenizer
from eve_core.errors import UserError
from eve_core.tasks.answers import read_answers
from eve_core.training.batching import Batching

if TYPE_CHECKING:
    from rich.table import Table
    from torch import nn

    from eve_core.model import EveConfig

_ANSWERS = 3129
"""Of VQA v2 by the usual rule; the vocabulary of a run is made when it is fine-tuned."""
_WORDS_A_TEXT = 15.0
"""Tokens of a text on average, specials included: COCO captions have 14.2, questions and statements about as many."""


@dataclass(frozen=True)
class Plan:
    """One training of a run."""

    name: str
    """pre-training, or the task."""
    parameters: int
    """Of the network."""
    steps: int
    """Optimizer steps."""
    batching: Batching
    """How a step's batch is spread."""
    flops_a_step: float
    """Floating-point operations of the whole batch, forward and backward, matrix products alone."""
    memory: float
    """Bytes a GPU needs."""
    hours: float | None
    """At the pool's expected share of its peak; None without a pool."""
    nodes: int
    """That train together."""
    whole_batch_at_once: bool
    """Whether its losses compare the examples of a whole batch, which then cannot be accumulated."""

    @property
    def node_hours(self) -> float:
        """Hours of all its nodes together; 0 where the pool does not say how fast it is."""
        return (self.hours or 0.0) * self.nodes


def count_examples(run: RunConfig, manifest: Manifest | None = None) -> tuple[dict[str, int], str]:
    """How many examples pre-training and every task train on.

    Args:
        run: the run's config.
        manifest: of the data; what is prepared here when None.

    Returns:
        The numbers, as far as they are known, and where they come from: the manifest, the prepared folder, or else the
        published counts of the sets.
    """
    folder = Path(run.data.repository) / run.data.path
    try:
        sets = (manifest or Manifest.read(folder)).sets
        counts = {name: dict(summary.counts) for name, summary in sets.items()}
        source = "the data revision" if manifest else f"the prepared folder {folder}"
    except UserError:
        counts, source = published_counts(), "the published numbers of the sets, which are not prepared here"
    wanted = {"pretraining": run.pretraining.data} | {name: [task.data.train] for name, task in run.tasks.items()}
    numbers = {}
    for name, splits in wanted.items():
        found = [counts.get(split.set, {}).get(part) for split in splits for part in split.splits]
        if None not in found:
            numbers[name] = sum(number or 0 for number in found)
    return numbers, source


def plan_run(run: RunConfig, examples: dict[str, int]) -> list[Plan]:
    """Plan pre-training and every fine-tuning.

    Args:
        run: the run's config.
        examples: how many training examples there are, by "pretraining" and task; needed where epochs are given.

    Raises:
        UserError: a batch cannot be spread over the processes, or the number of examples is not known.
    """
    from eve_core.model.flops import finetuning_flops, pretraining_flops

    pretraining = run.pretraining
    network = _network(run)
    ratios = (pretraining.image_mask_ratio, pretraining.text_mask_ratio)
    work = pretraining_flops(network, _WORDS_A_TEXT, *ratios)
    tokens = _pretraining_tokens(network, pretraining.image_mask_ratio)
    number = examples.get("pretraining")
    plans = [_plan("pre-training", run, network, pretraining.optimization, pretraining.launch, work, tokens, number)]
    for name, task in run.tasks.items():
        tuned = _network(run, task.finetuning)
        work, tokens = finetuning_flops(tuned, name, _WORDS_A_TEXT), _finetuning_tokens(tuned, name)
        settings = (task.finetuning.optimization, task.finetuning.launch)
        plans.append(_plan(name, run, tuned, *settings, work, tokens, examples.get(name)))
    return plans


def _plan(
    name: str,
    run: RunConfig,
    network: "EveConfig",
    optimization: OptimizationConfig,
    launch: LaunchConfig,
    flops: float,
    tokens: float,
    examples: int | None,
) -> Plan:
    nodes = launch.trainjob or run.pool
    per_node = nodes.gpus_per_node if nodes and launch.processes == "gpus" else launch.processes
    if per_node == "gpus":
        raise UserError(f"{name}: launch.processes is gpus, but no pool says how many of them a node has; add pool")
    processes = launch.nodes * per_node
    batching = Batching.of(optimization, processes)
    if optimization.steps is None and examples is None:
        raise UserError(f"{name}: how many steps its epochs take follows from the data; prepare it first")
    steps = optimization.steps or optimization.steps_of(examples or 0)
    parameters, of_blocks = _count_parameters(network, None if name == "pre-training" else name)
    flops *= optimization.batch_size
    accumulated = batching.accumulation > 1
    at_once = name == "retrieval" or (name == "pre-training" and "itc" in network.pretraining_tasks)
    if at_once:
        batching.refuse_accumulation(f"{name}: ITC and ITM")
    # A forward pass more, each.
    flops *= 1 + (optimization.activation_checkpointing + (accumulated and optimization.exact_load_balance)) / 3
    memory = _states(parameters, of_blocks, optimization, processes, accumulated)
    memory += _activations(network, tokens, batching.micro_batch, optimization)
    if name == "pre-training":
        memory += _predictions(network, run.pretraining.text_mask_ratio, batching.micro_batch, optimization)
    hours = None
    if run.pool is not None:
        hours = steps * flops / (processes * run.pool.peak_tflops * 1e12 * run.pool.expected_mfu) / 3600
    return Plan(name, parameters, steps, batching, flops, memory, hours, launch.nodes, at_once)


def _network(run: RunConfig, finetuning: FinetuningConfig | None = None) -> "EveConfig":
    from eve_core.training.pretraining import network_config

    network = network_config(run.pretraining, run.model)
    network.vocab_size = _entries(run.tokenizer, network.max_text_length)
    if finetuning is not None:
        network.num_labels = len(read_answers(finetuning.answers)) if finetuning.answers else _ANSWERS
        network.visual_reasoning_head = finetuning.head
        network.image_size = finetuning.image_size or network.image_size
    return network


def _entries(tokenizer: TokenizerConfig, max_length: int) -> int:
    if tokenizer.path is None:
        return tokenizer.vocab_size
    return len(load_tokenizer(tokenizer.path, max_length, tokenizer.special_tokens))


def _count_parameters(network: "EveConfig", task: str | None) -> tuple[int, list[int]]:
    """Of the network and of its blocks, without memory for them."""
    import torch

    from eve_core.model import EveForPreTraining
    from eve_core.model.encoder import EncoderBlock
    from eve_core.tasks import get_task

    with torch.device("meta"):
        model = (EveForPreTraining if task is None else get_task(task).model_class)(network)

    def count(module: "nn.Module") -> int:
        return sum(parameter.numel() for parameter in module.parameters())

    return count(model), [count(module) for module in model.modules() if isinstance(module, EncoderBlock)]


def _pretraining_tokens(network: "EveConfig", image_mask_ratio: float) -> float:
    """Tokens of a pair that go through the encoder in a step, over all passes."""
    whole, picture = 1 + network.num_patches + _WORDS_A_TEXT, 1 + network.num_patches
    visible = 1 + network.num_patches - round(image_mask_ratio * network.num_patches) + _WORDS_A_TEXT
    tokens = 0.0
    if "mim" in network.pretraining_tasks:
        tokens += whole if network.mask_tokens_in_encoder else visible
    if "mlm" in network.pretraining_tasks and not network.joint_masking:
        tokens += whole
    if "itc" in network.pretraining_tasks:
        tokens += picture + _WORDS_A_TEXT
    if "itm" in network.pretraining_tasks:
        tokens += 3 * whole
    return tokens


def _finetuning_tokens(network: "EveConfig", task: str) -> float:
    whole = 1 + network.num_patches + _WORDS_A_TEXT
    return {"vqa": whole, "nlvr2": 2 * whole, "retrieval": 4 * whole}[task]


def _states(
    parameters: int, of_blocks: list[int], optimization: OptimizationConfig, processes: int, accumulated: bool
) -> float:
    """Weights, gradients and two moments in float32; DDP's buckets; autocast's copies of the weights.

    With FSDP2 a share of the former; gathered, weights and gradients of two blocks and of all outside of blocks; and,
    where micro-batches are accumulated, all gradients, which are shared out after the last of them.
    """
    copies = 2.0 if optimization.precision == "bf16" else 0.0
    if optimization.fsdp:
        gathered = parameters - sum(of_blocks) + 2 * max(of_blocks)
        gradients = 4.0 if accumulated else 0.0
        return (16.0 / processes + copies + gradients) * parameters + 8.0 * gathered
    buckets = 4.0 if processes > 1 else 0.0
    return (16.0 + buckets + copies) * parameters


def _activations(network: "EveConfig", tokens: float, micro_batch: int, optimization: OptimizationConfig) -> float:
    """What the encoder keeps for the way back.

    Per token and block, in units of D numbers: the residual stream twice and norms in float32; queries, keys, values,
    attention's output and its projection; the inner width before and after its activation, and what comes out. Twice
    the inner width, for two experts, in soft-router blocks.
    """
    width, inner = network.hidden_size, network.intermediate_size
    size = 2 if optimization.precision == "bf16" else 4
    soft = network.ffn_types.count("soft")
    common = 4 * 4 * width + size * 7 * width
    feed_forward = size * (2 * inner + width)
    blocks = network.num_hidden_layers * common + (network.num_hidden_layers - soft) * feed_forward
    blocks += soft * network.num_experts_per_token * (feed_forward + size * width)
    if optimization.activation_checkpointing:
        blocks = network.num_hidden_layers * 4 * width + common + network.num_experts_per_token * feed_forward
    return float(micro_batch * tokens * blocks)


def _predictions(
    network: "EveConfig", text_mask_ratio: float, micro_batch: int, optimization: OptimizationConfig
) -> float:
    """What pre-training keeps besides: the decoder's blocks, counted like the encoder's, and the logits of the masked
    words, in float32 with their gradient.
    """
    size, total = 2 if optimization.precision == "bf16" else 4, 0.0
    if "mim" in network.pretraining_tasks and not network.mask_tokens_in_encoder:
        width = network.decoder_hidden_size
        total += network.decoder_num_layers * (1 + network.num_patches) * width * (16 + size * (7 + 9))
    if "mlm" in network.pretraining_tasks:
        total += text_mask_ratio * _WORDS_A_TEXT * network.vocab_size * (size + 8)
    return micro_batch * total


def describe_plan(plans: list[Plan], pool: PoolConfig | None) -> "Table":
    """The plans as a table for people, a column a training, with what they cost on `pool`."""
    from rich.table import Table

    rows: dict[str, list[str]] = {
        "parameters, M": [f"{plan.parameters / 1e6:,.1f}" for plan in plans],
        "steps": [f"{plan.steps:,}" for plan in plans],
        "examples a step": [f"{plan.batching.whole:,}" for plan in plans],
        "  processes": [f"{plan.batching.processes}" for plan in plans],
        "  micro-batches": [f"{plan.batching.accumulation}" for plan in plans],
        "  examples of each": [f"{plan.batching.micro_batch}" for plan in plans],
        "TFLOP a step": [f"{plan.flops_a_step / 1e12:,.3g}" for plan in plans],
        "memory a GPU, GB" if pool else "memory, GB": [f"{plan.memory / 1e9:.1f}" for plan in plans],
    }
    if pool:
        hours = [plan.hours or 0.0 for plan in plans]
        node_hours = [plan.node_hours for plan in plans]
        rows["hours"] = [f"{time:,.1f}" for time in [*hours, sum(hours)]]
        rows["node-hours"] = [f"{time:,.1f}" for time in [*node_hours, sum(node_hours)]]
        for kind, price in pool.price_per_node_hour.items():
            rows[f"cost, {kind}"] = [f"{price * time:,.0f}" for time in [*node_hours, sum(node_hours)]]
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("")
    for name in [*(plan.name for plan in plans), *(["all"] if pool else [])]:
        table.add_column(name, justify="right")
    for what, cells in rows.items():
        table.add_row(what, *cells)
    return table


def too_large(plans: list[Plan], pool: PoolConfig | None) -> list[str]:
    """What does not fit into a GPU's memory, and how to make it fit."""
    said = []
    for plan in plans if pool else ():
        assert pool is not None
        if plan.memory > pool.memory_gb * 1e9:
            each = plan.batching.micro_batch
            smaller = f"micro_batch_size below {each} (try {ceil(each / 2)}) or "
            said.append(
                f"{plan.name} needs about {plan.memory / 1e9:.0f} GB of a GPU's {pool.memory_gb:.0f}; set "
                f"{'' if plan.whole_batch_at_once else smaller}activation_checkpointing or fsdp, or use more processes"
            )
    return said
