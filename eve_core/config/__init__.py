"""Typed configuration: one YAML file is one run. Every key is a field below, with a sentence that says what it does."""

from eve_core.config.cluster import ClusterConfig, GpuPoolConfig, ImagesConfig, StepResources
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
from eve_core.config.run import NotificationConfig, RegistryConfig, RunConfig, RunSettings, TaskConfig, load_config
from eve_core.config.schedule import DriftTrigger, ScheduleConfig
from eve_core.config.section import digest, flat
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
    "ClusterConfig",
    "CocoCaptionsSource",
    "DataConfig",
    "DriftTrigger",
    "EvaluationConfig",
    "FinetuningConfig",
    "FlickrSource",
    "GateConfig",
    "GpuPoolConfig",
    "ImagesConfig",
    "LaunchConfig",
    "MetricFloor",
    "ModelConfig",
    "Nlvr2Source",
    "NotificationConfig",
    "OptimizationConfig",
    "PoolConfig",
    "PretrainingConfig",
    "RegistryConfig",
    "RunConfig",
    "RunSettings",
    "ScheduleConfig",
    "SliceConfig",
    "SourceConfig",
    "Split",
    "StepResources",
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
    "digest",
    "flat",
    "load_config",
]
