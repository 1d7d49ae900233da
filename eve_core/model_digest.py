"""What a model is, in one number: the digest that scores, blessings and registered versions refer to."""

import fnmatch
import hashlib
import json
from pathlib import Path

from eve_core.errors import UserError

_DEFINING = (
    "*.safetensors",
    "config.json",
    "tokenizer*.json",
    "special_tokens_map.json",
    "preprocessor_config.json",
    "processor_config.json",
    "answers.json",
)


def model_digest(checkpoint: Path | str) -> str:
    """sha256 over the sorted (name, sha256 of bytes) of the files that define the model in a `save_pretrained` folder.

    Raises:
        UserError: the folder holds no model.
    """
    digest = hashlib.sha256()
    for path in defining_files(checkpoint):
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        digest.update(json.dumps([path.name, content]).encode())
    return digest.hexdigest()


def defining_files(checkpoint: Path | str) -> list[Path]:
    """The files that `model_digest` covers, sorted by name: weights, configuration, tokenizer, preprocessing, answers.

    Raises:
        UserError: the folder holds no model.
    """
    checkpoint = Path(checkpoint)
    if not checkpoint.is_dir():
        raise UserError(f"the checkpoint {checkpoint} is no folder; give a folder written by save_pretrained")
    names = sorted(
        path.name for path in checkpoint.iterdir() if any(fnmatch.fnmatch(path.name, known) for known in _DEFINING)
    )
    if "config.json" not in names or not any(name.endswith(".safetensors") for name in names):
        raise UserError(f"the checkpoint {checkpoint} lacks config.json or *.safetensors; was its training cut off?")
    return [checkpoint / name for name in names]
