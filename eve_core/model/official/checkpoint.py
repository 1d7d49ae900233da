"""Reading a checkpoint file: tensors by name, and nothing that could run code."""

import pickle
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from eve_core.errors import UserError, existing_file

_SUFFIXES = (".pth", ".pt", ".bin", ".safetensors")


def read_checkpoint(path: Path | str) -> dict[str, torch.Tensor]:
    """The state dict in a file, without what training put around it: a dict with the key model, or a common prefix.

    Args:
        path: .pth, .pt or .bin as torch.save writes them, of which only tensors are read; or .safetensors.

    Returns:
        Tensors by name, those of a .pth mapped from the file where its format allows it.

    Raises:
        UserError: the file is missing, broken or of another kind, or holds Python objects, or no tensors.
    """
    path = existing_file(path, "the checkpoint")
    if path.suffix not in _SUFFIXES:
        raise UserError(f"the checkpoint {path} is none of {', '.join(_SUFFIXES)}; give a file of such a kind")
    path.open("rb").close()  # a file that may not be read is another matter than a broken one
    content = _load(path)
    if isinstance(content, Mapping) and isinstance(content.get("model"), Mapping):
        content = content["model"]
    if not isinstance(content, Mapping) or not content:
        raise UserError(
            f"the checkpoint {path} holds no tensors by name; give a state dict, or a dict with it as model"
        )
    others = [str(key) for key, value in content.items() if not isinstance(value, torch.Tensor)]
    if others:
        raise UserError(
            f"the checkpoint {path} holds {others[0]}, which is no tensor; save its state dict alone with torch.save"
        )
    state = {str(key): value for key, value in content.items()}
    while prefix := next((one for one in _PREFIXES if all(key.startswith(one) for key in state)), None):
        state = {key.removeprefix(prefix): value for key, value in state.items()}
    return state


_PREFIXES = ("model.", "module.")


def _load(path: Path) -> Any:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        found = re.search(r"GLOBAL (\S+)", str(error))
        what = f"holds {found[1]} beside tensors" if found else "is no checkpoint, or holds more than tensors"
        raise UserError(
            f"the checkpoint {path} {what}; unpickling that could run any code and is refused. "
            'Where you trust the file, save its tensors alone: torch.save(checkpoint["model"], FILE)'
        ) from None
    except Exception as error:  # neither reader has one error for broken files
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"the checkpoint {path} is broken ({reason}); copy it again from where it came") from None
