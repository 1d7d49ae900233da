"""How a run trains: the model's size, the tokenizer, pre-training and the fine-tuning of a task."""

from math import ceil
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from eve_core.config.data import Split
from eve_core.config.section import Section

TaskName = Literal["vqa", "nlvr2", "retrieval"]
PretrainingTask = Literal["mlm", "mim", "itc", "itm"]
SpecialToken = Literal["pad_token", "unk_token", "cls_token", "sep_token", "mask_token"]

# Fields of EveConfig that other sections decide.
_DECIDED_ELSEWHERE = {
    "vocab_size": "tokenizer.vocab_size",
    "pad_token_id": "the tokenizer",
    "pretraining_tasks": "pretraining.tasks",
    "joint_masking": "pretraining.joint_masking",
    "mask_tokens_in_encoder": "pretraining.mask_tokens_in_encoder",
    "visual_reasoning_head": "tasks.nlvr2.finetuning.head",
}


class ModelConfig(Section):
    """Which EVE is trained."""

    size: Literal["tiny", "base", "large"] = "tiny"
    """A named size of `EveConfig.named`."""
    overrides: dict[str, Any] = {}
    """Fields of EveConfig that differ from the named size."""

    @model_validator(mode="after")
    def _decided_here(self) -> Self:
        for name in self.overrides:
            if name in _DECIDED_ELSEWHERE:
                raise ValueError(f"overrides has {name}, which {_DECIDED_ELSEWHERE[name]} decides; set it there")
        return self


class TokenizerConfig(Section):
    """The tokenizer: trained in the pre-training step, or imported from files."""

    path: Path | None = None
    """An existing vocabulary to import instead: a tokenizer.json, a vocab.txt (WordPiece), a vocab.json with its
    merges.txt beside it, or a folder that holds one of these."""
    special_tokens: dict[SpecialToken, str] = {}
    """Special tokens of the imported vocabulary, where its files do not say them; a new one is added at its end."""
    kind: Literal["bpe", "wordpiece"] = "bpe"
    """Byte-level BPE, to which no text is unknown, or WordPiece."""
    data: list[Split] = []
    """What it learns from besides the pre-training captions: captions, questions and statements of training splits."""
    vocab_size: int = Field(default=2000, ge=300)
    """Entries at most; the paper's recipe has 64,000."""
    min_frequency: int = Field(default=2, ge=1)
    """Pairs that occur less often are not merged."""
    lowercase: bool = True
    """Whether a trained tokenizer takes capitals for small letters."""

    @model_validator(mode="after")
    def _trained_or_imported(self) -> Self:
        training = ("kind", "data", "vocab_size", "min_frequency", "lowercase")
        given = [name for name in training if getattr(self, name) != type(self).model_fields[name].default]
        if self.path is not None and given:
            raise ValueError(f"{', '.join(given)} tells how to train one, but path names one to import; remove either")
        if self.path is None and self.special_tokens:
            raise ValueError("special_tokens are those of an imported vocabulary; set path, or remove them")
        return self


class OptimizationConfig(Section):
    """AdamW, its schedule and its precision."""

    INCIDENTAL: ClassVar[set[str]] = {"checkpoint_steps", "checkpoints_kept", "workers", "collective_timeout"}
    """Settings that change nothing about what is computed: a run may be continued with others."""

    steps: int | None = Field(default=None, gt=0)
    """Optimizer steps."""
    epochs: float | None = Field(default=None, gt=0)
    """Or how often every example is seen."""
    batch_size: int = Field(gt=0)
    """Examples a step, over all processes and accumulation steps."""
    micro_batch_size: int | None = Field(default=None, gt=0)
    """Examples that a process takes at once at most; a step's batch then is accumulated in as many equal parts as that
    takes. All of a process's examples at once when not given."""
    exact_load_balance: bool = True
    """With accumulation, count the experts' load over the whole batch, which takes a forward pass more; without, every
    micro-batch balances on its own, as in the official code."""
    learning_rate: float = Field(gt=0)
    """Peak learning rate."""
    layer_decay: float = Field(default=1.0, gt=0, le=1)
    """Every block learns this much slower than the one above it; 1 for all alike, as in the paper's code."""
    warmup: float = Field(default=0.1, ge=0, lt=1)
    """Share of the steps over which the rate rises from 0."""
    schedule: Literal["linear", "cosine"] = "cosine"
    """How the rate falls to 0 afterwards."""
    weight_decay: float = Field(default=0.05, ge=0)
    """Applied to matrices only: not to norms, biases, embeddings of position, type and class, nor LayerScale."""
    beta2: float = Field(default=0.98, gt=0, lt=1)
    """Second AdamW moment; the first is 0.9."""
    max_grad_norm: float = Field(default=3.0, gt=0)
    """Gradients are clipped to this norm."""
    precision: Literal["float32", "bf16"] = "float32"
    """bf16 runs matrix products in bfloat16 under autocast; weights stay float32."""
    activation_checkpointing: bool = False
    """Keep only what goes into each block and compute the rest again on the way back: a third more work, far less
    memory."""
    fsdp: bool = False
    """Spread weights, gradients and moments over the processes (FSDP2) instead of keeping all of them in each."""
    compile: bool = False
    """Compile the network, which pays on a GPU. Values that go in (NaN pixels, empty texts) are not checked then."""
    checkpoint_steps: int = Field(default=200, gt=0)
    """A checkpoint to resume from is written every so many steps."""
    checkpoints_kept: int = Field(default=2, gt=0)
    """How many of them, the newest."""
    collective_timeout: int = Field(default=600, gt=0)
    """Seconds after which processes that train together give up waiting for one of them."""
    workers: int = Field(default=0, ge=0)
    """Data loading processes."""
    length_buckets: bool = False
    """Make up batches of examples whose texts are about equally long, so that little is padding."""

    @model_validator(mode="after")
    def _steps_or_epochs(self) -> Self:
        if (self.steps is None) == (self.epochs is None):
            raise ValueError("give either steps or epochs")
        return self

    def steps_of(self, examples: int) -> int:
        """Optimizer steps of a run over so many examples."""
        return self.steps if self.steps is not None else ceil((self.epochs or 0) * examples / self.batch_size)


class SecretKey(Section):
    """One value of a Kubernetes secret."""

    name: str
    """The secret."""
    key: str
    """Which of its values."""


class TrainJobConfig(Section):
    """A TrainJob of Kubeflow Trainer on a cluster's GPU pool."""

    image: str
    """Container image with this package and CUDA."""
    volume_claim: str
    """Claim of a volume that all nodes and the pipeline's steps mount (ReadWriteMany): data, checkpoints, model."""
    mount_path: str = "/workspace"
    """Where they mount it."""
    runtime: str = "torch-distributed"
    """ClusterTrainingRuntime, which also says how pods are scheduled together."""
    namespace: str = "kubeflow"
    """Where it runs."""
    api_version: str = Field(default="trainer.kubeflow.org/v1alpha1", pattern=r"^[a-z0-9.-]+/v[a-z0-9]+$")
    """Of the TrainJob."""
    kube_config: str | None = None
    """File with the cluster's address; inside the cluster, or with KUBECONFIG set, none is needed."""
    gpus_per_node: int = Field(default=8, ge=0)
    """GPUs of a node."""
    cpu: str | None = None
    """CPU of a node's pod, such as "90"."""
    memory: str | None = None
    """Memory of a node's pod, such as 900Gi."""
    shared_memory: str = "64Gi"
    """Of /dev/shm, through which loader workers hand over batches."""
    node_selector: dict[str, str] = {}
    """Labels of the pool's nodes."""
    tolerations: list[dict[str, Any]] = []
    """Taints of the pool that it may run on, as in a pod."""
    service_account: str | None = None
    """Of the pods."""
    labels: dict[str, str] = {}
    """Of the TrainJob, such as a queue's."""
    secrets: dict[str, SecretKey] = {}
    """Environment variables and the secrets that they come from."""
    deadline: int = Field(default=14 * 24 * 3600, gt=0)
    """Seconds after which the cluster ends it."""


class LaunchConfig(Section):
    """How many processes train together. The model comes out the same, but for rounding."""

    nodes: int = Field(default=1, gt=0)
    """Machines; more than one needs a TrainJob."""
    trainjob: TrainJobConfig | None = None
    """Train on a cluster's nodes, instead of in the step itself."""
    processes: Annotated[int, Field(gt=0)] | Literal["gpus"] = 1
    """On a machine; "gpus" for one a GPU."""

    @model_validator(mode="after")
    def _nodes_are_a_clusters(self) -> Self:
        if self.nodes > 1 and self.trainjob is None:
            raise ValueError(
                f"nodes is {self.nodes}, but several machines are a cluster's; set trainjob, or nodes to 1"
            )
        if self.processes == "gpus" and self.trainjob is not None and not self.trainjob.gpus_per_node:
            raise ValueError(
                "processes is gpus, but trainjob.gpus_per_node is 0; set it to a node's GPUs, or processes to a number"
            )
        return self


class AugmentationConfig(Section):
    """What happens to a training picture. The defaults are the paper's pre-training and common to all its tasks."""

    crop_scale: tuple[float, float] = (0.5, 1.0)
    """A random part of the picture, least and most of its area, becomes the model's square."""
    flip: bool = True
    """Mirror every other picture, except where its text speaks of left or right."""
    rand_augment: tuple[int, float] | None = None
    """Operations a picture, and their strength out of 10: [2, 7] in the official fine-tuning for VQA and NLVR2."""
    color_jitter: float = Field(default=0.0, ge=0, le=1)
    """Share by which brightness, contrast and saturation may change: 0.4 in that for retrieval."""

    @model_validator(mode="after")
    def _within_range(self) -> Self:
        least, most = self.crop_scale
        if not 0 < least <= most <= 1:
            raise ValueError(
                f"crop_scale is [{least}, {most}]; give two rising shares of the area, above 0 and up to 1"
            )
        if self.rand_augment is not None:
            operations, strength = self.rand_augment
            if operations < 1 or not 0 <= strength <= 10:
                raise ValueError(f"rand_augment is [{operations}, {strength}]; give 1 or more, and 0 to 10")
        return self


class PretrainingConfig(Section):
    """Pre-training: masked signal modelling (paper eq. 8-10), or the tasks that the paper compares it with."""

    data: list[Split]
    """Picture-caption pairs."""
    optimization: OptimizationConfig
    """Optimizer, schedule and precision."""
    tasks: list[PretrainingTask] = Field(default=["mlm", "mim"], min_length=1)
    """What is learnt: masked words (mlm), masked patches (mim), image-text contrast (itc) and matching (itm)."""
    joint_masking: bool = False
    """Mask picture and text in one encoder pass instead of one pass each."""
    mask_tokens_in_encoder: bool = False
    """Encode a mask token in the place of every masked patch, instead of leaving masked patches out."""
    image_mask_ratio: float = Field(default=0.75, gt=0, lt=1)
    """Share of the patches that is masked and predicted."""
    text_mask_ratio: float = Field(default=0.5, gt=0, lt=1)
    """Share of the text tokens that is masked and predicted."""
    load_balance_weight: float = Field(default=0.001, ge=0)
    """Alpha of eq. 7: what the load balance of the soft routers weighs in the loss."""
    augmentation: AugmentationConfig | None = None
    """Random changes of the pictures, {} for the paper's crop and flip; none, as in evaluation, when not given."""
    launch: LaunchConfig = LaunchConfig()
    """Over how many processes it is spread."""

    @model_validator(mode="after")
    def _tasks_go_together(self) -> Self:
        named = ", ".join(self.tasks)
        if len({*self.tasks}) < len(self.tasks):
            raise ValueError(f"tasks names one twice ({named}); name each once")
        if "itm" in self.tasks and "itc" not in self.tasks:
            raise ValueError("tasks has itm without itc, whose similarities choose its hard negatives; add itc")
        if self.joint_masking and not {"mlm", "mim"} <= {*self.tasks}:
            raise ValueError(f"joint_masking is about mlm and mim in one pass, but tasks is {named}; name both")
        if self.mask_tokens_in_encoder and "mim" not in self.tasks:
            raise ValueError(f"mask_tokens_in_encoder is about masked patches, but tasks is {named}; add mim")
        return self


class FinetuningConfig(Section):
    """Fine-tuning of one task from the pre-trained checkpoint."""

    optimization: OptimizationConfig
    """Optimizer, schedule and precision."""
    image_size: int | None = Field(default=None, gt=0)
    """Side of the pictures in pixels, a multiple of the patch size; the pre-trained size when not given."""
    head: Literal["plain", "bi_attention"] = "plain"
    """NLVR2: judge by the text's class tokens of both passes, or let each picture's sequence attend to the other's."""
    head_learning_rate_multiplier: float = Field(default=5.0, gt=0)
    """The head, which pre-training has not seen, learns this much faster."""
    load_balance_weight: float = Field(default=0.001, ge=0)
    """Alpha of eq. 7. The official code leaves the load balance out of the VQA loss; 0 reproduces that."""
    augmentation: AugmentationConfig | None = None
    """Random changes of the pictures, {} for the paper's crop and flip; none, as in evaluation, when not given."""
    launch: LaunchConfig = LaunchConfig()
    """Over how many processes it is spread."""
    min_answer_count: int = Field(default=9, ge=1)
    """VQA: an answer enters the vocabulary when it is the most common one of so many training questions."""
    answers: Path | None = None
    """VQA: a file with the vocabulary, one answer a row of the head (.json or .txt), to take in place of a new one."""

    @model_validator(mode="after")
    def _answers_made_or_read(self) -> Self:
        if self.answers is not None and self.min_answer_count != type(self).model_fields["min_answer_count"].default:
            raise ValueError("min_answer_count makes a vocabulary, but answers names one; remove either")
        return self
