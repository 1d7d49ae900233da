"""Pre-training: a tokenizer from the run's texts, a fresh network, masked signal modelling."""

import hashlib
import shutil
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from eve_core.config import ModelConfig, PretrainingConfig, TokenizerConfig
from eve_core.data.prepared import PreparedData
from eve_core.data.preprocessing import Preprocessor
from eve_core.data.selection import split_rows
from eve_core.data.tokenizer import make_tokenizer
from eve_core.errors import UserError
from eve_core.training.batching import Batching
from eve_core.training.monitor import KeepFolder, LogMetrics, is_first_process, keep_if_possible
from eve_core.training.trainer import train, write_log

if TYPE_CHECKING:
    from eve_core.model import EveConfig

_SECONDS_BETWEEN_LOOKS = 0.2


def pretrain(
    data: PreparedData,
    config: PretrainingConfig,
    model_config: ModelConfig,
    tokenizer_config: TokenizerConfig,
    out: Path,
    *,
    seed: int,
    scratch: Path,
    log: LogMetrics | None = None,
    keep: KeepFolder | None = None,
) -> None:
    """Train a tokenizer and a model, and write them to `out` as a `from_pretrained` folder with its training log.

    Args:
        data: prepared pictures and captions.
        config: pairs, tasks, masks, optimizer.
        model_config: size of the network.
        tokenizer_config: size of the vocabulary, and which texts besides the captions it is learnt from.
        out: folder to write.
        seed: of every draw.
        scratch: folder for checkpoints to resume from.
        log: called with metrics and step.
        keep: called with the folder of pictures whenever there is a new one of what the model predicts.

    Raises:
        UserError: the data set lacks what the config names, or the model's configuration is impossible.
    """
    import pyarrow as pa
    import torch

    from eve_core.model import EveForPreTraining
    from eve_core.model.flops import pretraining_flops
    from eve_core.objectives import MaskedPairs, pretraining_loss

    captions = pa.concat_tables([split_rows(data, split) for split in config.data])
    further = [split_rows(data, split) for split in tokenizer_config.data]
    eve_config = network_config(config, model_config)

    def make_preprocessor(folder: Path) -> None:
        tokenizer = make_tokenizer(tokenizer_config, [captions, *further], eve_config.max_text_length)
        Preprocessor(tokenizer, eve_config.image_size, eve_config.max_text_length).save(folder)

    preprocessor = Preprocessor.load(made_once(scratch / "preprocessor", make_preprocessor))
    tokenizer = preprocessor.tokenizer
    eve_config.vocab_size, eve_config.pad_token_id = len(tokenizer), tokenizer.pad_token_id

    torch.manual_seed(seed)
    model = EveForPreTraining(eve_config)
    pairs = MaskedPairs(
        captions,
        data.images,
        preprocessor,
        eve_config,
        config.image_mask_ratio,
        config.text_mask_ratio,
        config.augmentation,
    )
    if "itc" in config.tasks:
        Batching.of(config.optimization).refuse_accumulation("itc and itm")
    work = (pairs.mean_tokens(), config.image_mask_ratio, config.text_mask_ratio)

    def look(step: int) -> None:
        from eve_core.evaluation.figures import predictions_figure

        pictures = scratch / "pictures"
        predictions_figure(data, config, preprocessor, model, pictures / f"step_{step:06}.png")
        keep_if_possible(keep, pictures)

    history = train(
        model,
        pairs,
        partial(pretraining_loss, load_balance_weight=config.load_balance_weight),
        config.optimization,
        seed=seed,
        pad_token_id=tokenizer.pad_token_id,
        description="pre-training",
        scratch=scratch,
        log=log,
        flops=pretraining_flops(eve_config, *work),
        look=look if {"mlm", "mim"} & {*config.tasks} else None,
        origin={
            "data": data.digest,
            "quarantine": data.quarantine_digest,
            "pretraining": config.model_dump(mode="json", exclude={"optimization", "launch"}),
            "model": model_config.model_dump(mode="json"),
            "tokenizer": hashlib.sha256(tokenizer.backend_tokenizer.to_str().encode()).hexdigest(),
        },
    )
    if is_first_process():
        model.save_pretrained(out)
        preprocessor.save(out)
        write_log(history, out)


def made_once(folder: Path, make: Callable[[Path], None]) -> Path:
    """A folder that the first process makes, all others wait for, and a resumed run finds."""
    if is_first_process() and not folder.exists():
        unfinished = folder.with_name(f".{folder.name}-{uuid4().hex}")  # another run may make the same at the same time
        unfinished.mkdir(parents=True)
        try:
            make(unfinished)
            unfinished.rename(folder)
        except OSError:
            if not folder.exists():
                raise
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    while not folder.exists():
        time.sleep(_SECONDS_BETWEEN_LOOKS)  # torchrun stops this process if the first one fails
    return folder


def network_config(config: PretrainingConfig, model_config: ModelConfig) -> "EveConfig":
    """The network that a run pre-trains, but for its vocabulary.

    Raises:
        UserError: there is no such network.
    """
    from eve_core.model import EveConfig

    try:
        return EveConfig.named(
            model_config.size,
            pretraining_tasks=config.tasks,
            joint_masking=config.joint_masking,
            mask_tokens_in_encoder=config.mask_tokens_in_encoder,
            **model_config.overrides,
        )
    except (TypeError, ValueError) as error:
        raise UserError(f"model: {error}") from None
