"""Validating prepared data with Great Expectations."""

from pathlib import Path
from typing import Any

from eve_core.config import ValidationConfig
from eve_core.data.prepared import PreparedData
from eve_core.data.staging import staged_folder
from eve_core.progress import track
from eve_core.quality.data_docs import finish_data_docs, site_config
from eve_core.quality.report import ExpectationResult, ValidationReport
from eve_core.quality.suites import Suite, build_suite, load_suite
from eve_core.quality.tables import CheckedTable, checked_tables

_REPORT = "report.json"
_EXAMPLES_IN_REPORT = 20


def validate_data(data: PreparedData, config: ValidationConfig, report_dir: Path) -> ValidationReport:
    """Evaluate the enabled suites on every table of their kind, and write report.json and data docs.

    Args:
        data: what is validated.
        config: which suites are enabled.
        report_dir: folder that becomes the report; an earlier report in it is replaced as a whole.

    Raises:
        UserError: a suite is unknown, or `report_dir` holds something that is no validation report.
    """
    report_dir = Path(report_dir)
    suites = {kind: load_suite(kind) for kind in config.enabled_suites}
    examples = max(config.rows_in_message, _EXAMPLES_IN_REPORT)
    with staged_folder(report_dir, _REPORT) as folder:
        tables = list(checked_tables(data, list(suites)))
        report = ValidationReport(
            data_digest=data.digest,
            results=_evaluate(tables, suites, folder, data.digest, examples),
            skipped=[kind for kind in suites if kind not in {table.kind for table in tables}],
            folder=report_dir,
            rows_in_message=config.rows_in_message,
        )
        finish_data_docs(folder, report)
        (folder / _REPORT).write_text(report.to_json(), encoding="utf-8")
    return report


def _evaluate(
    tables: list[CheckedTable], suites: dict[str, Suite], site: Path, digest: str, examples: int
) -> list[ExpectationResult]:
    """Run one checkpoint a table and let Great Expectations write its pages into `site`."""
    import great_expectations as gx
    from great_expectations.core.run_identifier import RunIdentifier

    context = _quiet_context(site)
    source = context.data_sources.add_or_update_pandas("prepared")
    built = {kind: context.suites.add_or_update(build_suite(kind, suite)) for kind, suite in suites.items()}
    results = []
    for table in track(tables, "validating", unit="table"):
        suite = suites[table.kind]
        name = f"{table.kind}-{table.set}"
        batch = source.add_dataframe_asset(name).add_batch_definition_whole_dataframe("all rows")
        definition = gx.ValidationDefinition(name=name, data=batch, suite=built[table.kind])
        checkpoint = gx.Checkpoint(
            name=name,
            validation_definitions=[context.validation_definitions.add_or_update(definition)],
            result_format={
                "result_format": "SUMMARY",
                "unexpected_index_column_names": [suite.row_id],
                "partial_unexpected_count": examples,
            },
        )
        outcome = context.checkpoints.add_or_update(checkpoint).run(
            batch_parameters={"dataframe": table.rows}, run_id=RunIdentifier(run_name=f"data-{digest[:12]}")
        )
        (validation,) = outcome.run_results.values()
        results += _results(table, suite, validation.results)
    context.build_data_docs()
    return results


def _quiet_context(site: Path) -> Any:
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


def _results(table: CheckedTable, suite: Suite, outcomes: list[Any]) -> list[ExpectationResult]:
    """Great Expectations' answers in the order in which the suite declares the expectations."""
    by_position = {outcome.expectation_config.meta["position"]: outcome for outcome in outcomes}
    results = []
    for position, declared in enumerate(suite.expectations):
        outcome = by_position[position]
        found = outcome.result
        results.append(
            ExpectationResult(
                table=table.name,
                suite=table.kind,
                expectation=declared.type,
                column=declared.column,
                why=declared.why,
                severity=declared.severity,
                passed=bool(outcome.success),
                rows=len(table.rows),
                observed=_plain(_observed(outcome)),
                unexpected_count=int(found.get("unexpected_count") or 0),
                example_rows=[str(row[suite.row_id]) for row in found.get("partial_unexpected_index_list") or []],
            )
        )
    return results


def _observed(outcome: Any) -> Any:
    if not outcome.result and not outcome.success:  # it could not be evaluated: a column is missing, say
        messages = {
            info["exception_message"] for info in outcome.exception_info.values() if isinstance(info, dict)
        } or {outcome.exception_info.get("exception_message")}
        return "; ".join(sorted(str(message) for message in messages))
    return outcome.result.get("observed_value", outcome.result.get("partial_unexpected_list"))


def _plain(value: Any) -> Any:
    """`value` as JSON has it: numpy scalars become Python's."""
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if hasattr(value, "item"):
        value = value.item()
    return value if isinstance(value, str | int | float | bool | None) else str(value)
