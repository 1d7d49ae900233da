"""A training as one JSON file: what every process that torchrun or a TrainJob starts is given."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from eve_core.config import (
    FinetuningConfig,
    LaunchConfig,
    ModelConfig,
    OptimizationConfig,
    PretrainingConfig,
    TaskDataConfig,
    TokenizerConfig,
)
from eve_core.data.prepared import PreparedData
from eve_core.training.finetuning import finetune
from eve_core.training.guards import refuse_missing_gpus
from eve_core.training.monitor import KeepFolder, LogMetrics
from eve_core.training.pretraining import pretrain


def without_incidentals(section: PretrainingConfig | FinetuningConfig) -> dict[str, Any]:
    """The settings of a training that its checkpoints are found by.

    Not how it is launched: a change of that has to meet the checkpoints that are there, which refuse it or go on.
    """
    return section.model_dump(mode="json", exclude={"launch": True, "optimization": OptimizationConfig.INCIDENTAL})


@dataclass(frozen=True)
class TrainingJob:
    """Pre-training, or fine-tuning for one task.

    Paths are of folders that all processes see.
    """

    task: str | None
    """vqa, nlvr2 or retrieval; None for pre-training."""
    prepared: str
    """Prepared data."""
    validated: str | None
    """Report of its validation, with the rows that were set apart."""
    settings: dict[str, Any]
    """pretraining, model and tokenizer, or task_data and finetuning: sections of the run's config."""
    pretrained: str | None
    """What fine-tuning starts from."""
    out: str
    """Folder for the model."""
    scratch: str
    """Folder for checkpoints to resume from."""
    seed: int
    """Of every draw."""

    def write(self, path: Path) -> None:
        """Keep it as a file."""
        path.write_text(json.dumps(asdict(self), indent=2) + "\n")

    @classmethod
    def read(cls, path: Path) -> "TrainingJob":
        """What `write` kept."""
        return cls(**json.loads(path.read_text()))

    @property
    def name(self) -> str:
        """In words."""
        return "pre-training" if self.task is None else f"fine-tuning {self.task}"

    def run(self, log: LogMetrics | None = None, keep: KeepFolder | None = None) -> None:
        """Train, as one of the processes of the job.

        Args:
            log: called with metrics and step by the first process.
            keep: called by it with a folder of pictures that there are new ones in.

        Raises:
            UserError: there are fewer GPUs than the recipe takes; or see `pretrain` and `finetune`.
        """
        launch = self.settings["pretraining" if self.task is None else "finetuning"].get("launch", {})
        refuse_missing_gpus(LaunchConfig.model_validate(launch).processes)
        data = PreparedData.open(self.prepared, quarantine=self.validated)
        common: dict[str, Any] = {"seed": self.seed, "scratch": Path(self.scratch), "log": log}
        if self.task is None:
            pretrain(
                data,
                PretrainingConfig.model_validate(self.settings["pretraining"]),
                ModelConfig.model_validate(self.settings["model"]),
                TokenizerConfig.model_validate(self.settings["tokenizer"]),
                Path(self.out),
                keep=keep,
                **common,
            )
        else:
            assert self.pretrained is not None
            finetune(
                data,
                self.task,
                TaskDataConfig.model_validate(self.settings["task_data"]),
                FinetuningConfig.model_validate(self.settings["finetuning"]),
                Path(self.pretrained),
                Path(self.out),
                **common,
            )
