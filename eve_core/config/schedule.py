"""When the workflow runs by itself."""

from typing import Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, field_validator, model_validator

from eve_core.config.section import Section


class DriftTrigger(Section):
    """Retrain when the data drifts: not at the first sign, and not again and again."""

    threshold: float = Field(gt=0, le=1)
    """Jensen-Shannon distance of a data revision's statistics from those of the data behind the champion."""
    windows: int = Field(default=5, gt=0)
    """How many of the newest revisions count; each is measured once."""
    violations: int = Field(default=3, gt=0)
    """How many of them have to be farther than the threshold."""

    @model_validator(mode="after")
    def _some_of_them(self) -> Self:
        if self.violations > self.windows:
            raise ValueError(f"violations is {self.violations} of {self.windows} windows; make it no more than them")
        return self


_PARTS_OF_A_CRON = 5


class ScheduleConfig(Section):
    """Retraining without anybody's doing."""

    cron: str | None = None
    """When to look whether anything is due, such as "0 3 * * 1"."""
    timezone: str = "UTC"
    """Of `cron`."""
    new_data: bool = True
    """Run when `data.revision` stands for data that this config was not trained on."""
    drift: DriftTrigger | None = None
    """Run when new data has drifted, where `new_data` is off."""
    submit: bool = False
    """Run on the cluster (section cluster) instead of on the worker's own machine."""
    resubmissions: int = Field(default=3, ge=0)
    """How often a run on the cluster is submitted again because a step was told to stop, or is gone without a word, as
    with its node; it goes on from there."""
    max_cost: float | None = Field(default=None, gt=0)
    """Estimated cost above which nothing is started, in the currency of the pool's prices."""
    cool_down_days: float = Field(default=0.0, ge=0)
    """How long after a run whose models were all refused nothing is started by itself."""
    approval_hours: float = Field(default=72, gt=0)
    """Where `registry.approval` asks for it, how long an answer is waited for; none is a no."""
    work_pool: str = "eve"
    """Prefect's work pool that runs are handed to."""

    @field_validator("cron")
    @classmethod
    def _five_parts(cls, cron: str | None) -> str | None:
        if cron is not None and len(cron.split()) != _PARTS_OF_A_CRON:
            raise ValueError(f"{cron!r} is not minute, hour, day, month and weekday; write it like 0 3 * * 1")
        return cron

    @field_validator("timezone")
    @classmethod
    def _known_timezone(cls, timezone: str) -> str:
        try:
            ZoneInfo(timezone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError(f"{timezone!r} is no time zone; give one such as UTC or Europe/Berlin") from None
        return timezone
