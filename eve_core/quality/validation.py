"""Validating prepared data with Great Expectations."""

import json
from pathlib import Path
from typing import Any

from eve_core.config import ValidationConfig
from eve_core.data.prepared import PreparedData
from eve_core.data.records import TEXT_COLUMN
from eve_core.data.staging import staged_folder
from eve_core.progress import track
from eve_core.quality.checkpoint import Outcome, evaluate, quiet_context
from eve_core.quality.data_docs import finish_data_docs
from eve_core.quality.drift import compare, read_statistics
from eve_core.quality.overviews import COLUMNS, SPLITS
from eve_core.quality.page import STYLE, write_page
from eve_core.quality.quarantine import quarantined_rows, summarise, write_quarantine
from eve_core.quality.report import ExpectationResult, ValidationReport
from eve_core.quality.statistics import STATISTICS, statistics_of
from eve_core.quality.suites import load_suite
from eve_core.quality.tables import CheckedTable, checked_tables, read_tables

_REPORT = "report.json"
_EXAMPLES_IN_REPORT = 20


def validate_data(
    data: PreparedData, config: ValidationConfig, report_dir: Path, *, previous: Path | None = None
) -> ValidationReport:
    """Evaluate the enabled suites on every table of their kind, set rows apart, and compare with the revision before.

    Writes index.html (every number and figure), report.json, statistics.json, quarantine.parquet (the rows that a
    reader leaves out who opens the data with this report, see `PreparedData.open`) and Great Expectations' data docs.

    Args:
        data: what is validated, opened without an earlier report.
        config: which suites are enabled, and how much of what is allowed.
        report_dir: folder that becomes the report; an earlier report in it is replaced as a whole.
        previous: folder with the statistics.json of an earlier report, to look for drift; None for no comparison.

    Raises:
        UserError: a suite is unknown, `previous` is no report, or `report_dir` holds something that is no report.
    """
    report_dir = Path(report_dir)
    suites = {kind: load_suite(kind) for kind in config.enabled_suites}
    before = read_statistics(previous) if previous else None
    names = checked_tables(data, config)
    examples = max(config.rows_in_message, _EXAMPLES_IN_REPORT)
    results, quarantine, rows_apart = [], [], []
    statistics: dict[str, Any] = {}
    with staged_folder(report_dir, _REPORT) as folder:
        context = quiet_context(folder)
        for table in track(read_tables(data, config), "validating", total=len(names), unit="table"):
            suite = suites[table.kind]
            outcomes = evaluate(context, table, suite.about(table.set), f"data-{data.digest[:12]}")
            results += [_result(table, suite.row_id, outcome, examples) for outcome in outcomes]
            if table.kind == COLUMNS and not all(outcome.passed for outcome in outcomes):
                break  # the others cannot be read
            if table.kind not in (COLUMNS, SPLITS):
                statistics[table.name] = statistics_of(table)
            if table.kind in TEXT_COLUMN:
                rows_apart.append(quarantined_rows(table, suite, outcomes))
                quarantine.append(summarise(table, rows_apart[-1], config.quarantine_budget))
        context.build_data_docs()
        report = ValidationReport(
            data_digest=data.digest,
            previous_digest=before["data_digest"] if before else None,
            results=results,
            quarantine=quarantine,
            drift=compare(statistics, before["tables"], config) if before and statistics else [],
            skipped=[kind for kind in suites if kind not in {found for found, _ in names}],
            folder=report_dir,
            rows_in_message=config.rows_in_message,
        )
        write_quarantine(folder, rows_apart)
        content = {"format": 1, "data_digest": data.digest, "tables": statistics}
        (folder / STATISTICS).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        (folder / _REPORT).write_text(report.to_json(), encoding="utf-8")
        write_page(folder, report, statistics, before, data.manifest, finish_data_docs(folder, STYLE))
    return report


def measure_drift(data: PreparedData, config: ValidationConfig, previous: Path) -> float:
    """The largest Jensen-Shannon distance of any statistic from those of an earlier report, without a validation.

    Args:
        data: what is compared.
        config: which tables.
        previous: folder with the statistics.json of a report.

    Raises:
        UserError: `previous` is no report.
    """
    before = read_statistics(previous)["tables"]
    tables = (table for table in read_tables(data, config) if table.kind not in (COLUMNS, SPLITS))
    drifts = compare({table.name: statistics_of(table) for table in tables}, before, config)
    return max((drift.distance for drift in drifts if drift.distance is not None), default=0.0)


def _result(table: CheckedTable, row_id: str, outcome: Outcome, examples: int) -> ExpectationResult:
    declared, identifiers = outcome.declared, table.rows[row_id]
    return ExpectationResult(
        table=table.name,
        suite=table.kind,
        expectation=declared.type,
        column=declared.column,
        arguments={name: value for name, value in declared.kwargs.items() if name != "column"},
        why=declared.why,
        severity=declared.severity,
        passed=outcome.passed,
        rows=table.rows.num_rows,
        observed=outcome.error or [_plain(value) for value in outcome.observed[:examples]],
        unexpected_count=len(outcome.offending),
        example_rows=[str(identifiers[place]) for place in outcome.offending[:examples].tolist()],
    )


def _plain(value: Any) -> Any:
    """`value` as JSON has it: numpy scalars become Python's."""
    value = value.item() if hasattr(value, "item") else value
    return value if isinstance(value, str | int | float | bool | None) else str(value)
