"""Typed configuration: one YAML file is one run. Every key is a field below, with a sentence that says what it does."""

from eve_core.config.data import (
    CocoCaptionsSource,
    DataConfig,
    FlickrSource,
    Nlvr2Source,
    SourceConfig,
    Split,
    SyntheticWorldConfig,
    TaskDataConfig,
    ValidationConfig,
    VisualGenomeQaSource,
    VisualGenomeSource,
    VqaV2Source,
    WebCaptionsSource,
)
from eve_core.config.evaluation import EvaluationConfig, GateConfig, MetricFloor, SliceConfig
from eve_core.config.pool import PoolConfig
from eve_core.config.run import RegistryConfig, RunConfig, RunSettings, TaskConfig, load_config
from eve_core.config.section import flat
from eve_core.config.training import (
    AugmentationConfig,
    FinetuningConfig,
    LaunchConfig,
    ModelConfig,
    OptimizationConfig,
    PretrainingConfig,
    TaskName,
    TokenizerConfig,
    TrainJobConfig,
)

__all__ = [
    "AugmentationConfig",
    "CocoCaptionsSource",
    "DataConfig",
    "EvaluationConfig",
    "FinetuningConfig",
    "FlickrSource",
    "GateConfig",
    "LaunchConfig",
    "MetricFloor",
    "ModelConfig",
    "Nlvr2Source",
    "OptimizationConfig",
    "PoolConfig",
    "PretrainingConfig",
    "RegistryConfig",
    "RunConfig",
    "RunSettings",
    "SliceConfig",
    "SourceConfig",
    "Split",
    "SyntheticWorldConfig",
    "TaskConfig",
    "TaskDataConfig",
    "TaskName",
    "TokenizerConfig",
    "TrainJobConfig",
    "ValidationConfig",
    "VisualGenomeQaSource",
    "VisualGenomeSource",
    "VqaV2Source",
    "WebCaptionsSource",
    "flat",
    "load_config",
]
