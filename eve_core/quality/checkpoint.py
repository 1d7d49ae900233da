"""Running a suite on a table with Great Expectations, in memory that does not grow with the table."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from eve_core.quality.data_docs import site_config
from eve_core.quality.suites import DeclaredExpectation, build_suite
from eve_core.quality.tables import CheckedTable

if TYPE_CHECKING:
    import pandas as pd

# Great Expectations copies the frame for every expectation and keeps each answer until the last.
_ROWS_AT_ONCE = 500_000


@dataclass(frozen=True)
class Outcome:
    """What one expectation came to on one table."""

    declared: DeclaredExpectation
    """The expectation."""
    passed: bool
    """Whether it holds on as many rows as it asks for (all, or its `mostly`)."""
    offending: np.ndarray
    """Places of the rows on which it does not hold, ascending, (offending rows,)."""
    observed: list[Any]
    """Values of the first of them."""
    error: str | None
    """Why it could not be evaluated."""


def quiet_context(site: Path) -> Any:
    """An in-memory project whose only trace is the site, which shows no bars of its own and reports to nobody."""
    import great_expectations as gx
    from great_expectations.data_context.types.base import (
        DataContextConfig,
        InMemoryStoreBackendDefaults,
        ProgressBarsConfig,
    )

    settings = DataContextConfig(
        store_backend_defaults=InMemoryStoreBackendDefaults(),
        data_docs_sites={"prepared data": site_config(site)},
        progress_bars=ProgressBarsConfig(globally=False),
        analytics_enabled=False,
    )
    return gx.get_context(mode="ephemeral", project_config=settings)


def evaluate(
    context: Any, table: CheckedTable, expectations: list[DeclaredExpectation], run_name: str
) -> list[Outcome]:
    """Evaluate `expectations` on `table`, part by part.

    Args:
        context: from `quiet_context`; what is built in it for a table replaces what was built for it before.
        table: its rows and measures.
        expectations: of its suite.
        run_name: shown in the data docs.

    Returns:
        One outcome an expectation, in their order.
    """
    columns = {declared.column for declared in expectations}
    suite = context.suites.add_or_update(build_suite(f"{table.kind}-{table.set}", expectations))
    parts = []
    for start in range(0, max(table.rows.num_rows, 1), _ROWS_AT_ONCE):
        frame = table.frame(columns, start, _ROWS_AT_ONCE)
        name = f"{table.kind}-{table.set}-{start + 1}-to-{start + len(frame)}"
        found = _run_checkpoint(context, name, suite, frame, run_name)
        parts.append([_Part.of(result, frame, declared) for result, declared in zip(found, expectations, strict=True)])
    return [_merge(declared, [*of_all]) for declared, *of_all in zip(expectations, *parts, strict=True)]


def _run_checkpoint(context: Any, name: str, suite: Any, frame: "pd.DataFrame", run_name: str) -> list[Any]:
    """Great Expectations' results in the order of the declared expectations."""
    import great_expectations as gx
    from great_expectations.core.run_identifier import RunIdentifier

    source = context.data_sources.add_or_update_pandas("prepared")
    batch = source.add_dataframe_asset(name).add_batch_definition_whole_dataframe("all rows")
    definition = gx.ValidationDefinition(name=name, data=batch, suite=suite)
    checkpoint = gx.Checkpoint(
        name=name,
        validation_definitions=[context.validation_definitions.add_or_update(definition)],
        result_format="BASIC",  # the others look up the index of every offending row, for every expectation
    )
    outcome = context.checkpoints.add_or_update(checkpoint).run(
        batch_parameters={"dataframe": frame}, run_id=RunIdentifier(run_name=run_name)
    )
    (validation,) = outcome.run_results.values()
    return sorted(validation.results, key=lambda result: int(result.expectation_config.meta["position"]))


@dataclass(frozen=True)
class _Part:
    """What one expectation came to on some of the rows."""

    checked: int
    offending: np.ndarray
    observed: list[Any]
    error: str | None

    @classmethod
    def of(cls, result: Any, frame: "pd.DataFrame", declared: DeclaredExpectation) -> "_Part":
        found = result.result
        if not found:
            return cls(0, np.empty(0, dtype=np.int64), [], _error(result))
        offending = _offending(frame, declared) if found["unexpected_count"] else np.empty(0, dtype=np.int64)
        checked = found["element_count"] - found["missing_count"]
        return cls(checked, offending, found["partial_unexpected_list"], None)


def _merge(declared: DeclaredExpectation, parts: list[_Part]) -> Outcome:
    offending = np.concatenate([part.offending for part in parts])
    checked = sum(part.checked for part in parts)
    error = next((part.error for part in parts if part.error), None)
    return Outcome(
        declared=declared,
        passed=error is None and (checked - len(offending)) >= declared.kwargs.get("mostly", 1) * checked,
        offending=offending,
        observed=[value for part in parts for value in part.observed],
        error=error,
    )


def _offending(frame: "pd.DataFrame", declared: DeclaredExpectation) -> np.ndarray:
    """Index of the rows that meet Great Expectations' own condition of what is unexpected."""
    from great_expectations.execution_engine import PandasExecutionEngine
    from great_expectations.expectations.registry import get_expectation_impl
    from great_expectations.validator.metric_configuration import MetricConfiguration
    from great_expectations.validator.metrics_calculator import MetricsCalculator

    arguments = {name: value for name, value in declared.kwargs.items() if name not in ("column", "mostly")}
    condition = MetricConfiguration(
        f"{get_expectation_impl(declared.type).map_metric}.condition", {"column": declared.column}, arguments
    )
    engine = PandasExecutionEngine(batch_data_dict={"rows": frame})
    unexpected, *_ = MetricsCalculator(engine, show_progress_bars=False).get_metric(condition)
    places: np.ndarray = unexpected.index[unexpected].to_numpy()
    return places


def _error(result: Any) -> str:
    information = result.exception_info
    messages = {info["exception_message"] for info in information.values() if isinstance(info, dict)}
    return "; ".join(sorted(map(str, messages or {information.get("exception_message")})))
