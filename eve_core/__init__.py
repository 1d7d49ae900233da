"""EVE: efficient vision-language pre-training with masked prediction and a modality-aware mixture of experts.

The rooms, from the ground floor up (imports run downward only): `config`; `data` and `model`; `objectives` and
`tasks`; `training`, `evaluation`, `quality` and `registry`; `cli`. See docs/architecture.md.
"""

__version__ = "0.1.0"
