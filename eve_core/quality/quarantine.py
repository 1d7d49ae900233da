"""The rows that a validation sets apart: which, why, and whether they are too many."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from eve_core.data.records import QUARANTINE_FILE, SCHEMAS, TEXT_COLUMN
from eve_core.quality.checkpoint import Outcome
from eve_core.quality.suites import Suite
from eve_core.quality.tables import CheckedTable

SCHEMA = SCHEMAS["quarantine"].append(pa.field("set", pa.string(), nullable=False))
_EXAMPLES = 5
_TEXT_SHOWN = 120


@dataclass(frozen=True)
class QuarantineSummary:
    """The rows of one table that are set apart."""

    table: str
    """Such as "captions of flickr8k"."""
    rows: int
    """Rows of the table."""
    quarantined: int
    """Rows of it that are set apart."""
    budget: float
    """Share of the rows that may be."""
    reasons: dict[str, int]
    """How many of them by reason, the most frequent first."""
    examples: dict[str, list[str]]
    """The first rows by reason: id and detail."""

    @property
    def share(self) -> float:
        """Of the table's rows."""
        return self.quarantined / max(1, self.rows)

    @property
    def stops_the_run(self) -> bool:
        """Whether they are more than the budget."""
        return self.quarantined > self.budget * self.rows

    @property
    def sentence(self) -> str:
        """How many rows, why, and what the budget is."""
        reasons = ", ".join(f"{reason} {count}" for reason, count in self.reasons.items())
        return (
            f"{self.table}: {self.quarantined} of {self.rows} rows ({self.share:.1%}) belong in quarantine "
            f"({reasons}), more than validation.quarantine_budget ({self.budget:.2%}) allows"
        )


def quarantined_rows(table: CheckedTable, suite: Suite, outcomes: list[Outcome]) -> pa.Table:
    """The rows that do not meet a quarantine expectation, each once, with the first that they do not meet.

    Returns:
        A table of `SCHEMA`, in the order of the rows.
    """
    broken = [outcome for outcome in outcomes if outcome.declared.severity == "quarantine"]
    first = np.full(table.rows.num_rows, len(broken))
    for number, outcome in reversed([*enumerate(broken)]):
        first[outcome.offending] = number
    places = np.flatnonzero(first < len(broken))
    declared = [broken[number].declared for number in first[places]]
    rows = table.rows.take(places)
    values = {
        column: table.columns[column].take(places).to_pylist()
        for column in {outcome.declared.column for outcome in broken}
    }
    texts = pc.utf8_slice_codeunits(rows[TEXT_COLUMN[table.kind]], 0, _TEXT_SHOWN).to_pylist()
    details = [
        f"{found.column} is {values[found.column][place]}: {text}"
        for place, (found, text) in enumerate(zip(declared, texts, strict=True))
    ]
    columns = {
        "row_id": rows[suite.row_id].cast(pa.string()),
        "split": rows["split"],
        "reason": pa.array([found.reason for found in declared], pa.string()),
        "detail": pa.array(details, pa.string()),
        "set": pa.array([table.set] * len(places), pa.string()),
    }
    return pa.table(columns, schema=SCHEMA)


def summarise(table: CheckedTable, quarantined: pa.Table, budget: float) -> QuarantineSummary:
    """What `quarantined_rows` found in a table, in numbers and examples."""
    reasons = quarantined["reason"].to_pylist()
    examples: dict[str, list[str]] = {}
    for place, reason in enumerate(reasons):
        if len(of_reason := examples.setdefault(reason, [])) < _EXAMPLES:
            of_reason.append(f"{quarantined['row_id'][place]}: {quarantined['detail'][place]}")
    return QuarantineSummary(
        table=table.name,
        rows=table.rows.num_rows,
        quarantined=len(reasons),
        budget=budget,
        reasons=dict(Counter(reasons).most_common()),
        examples=examples,
    )


def write_quarantine(folder: Path, tables: list[pa.Table]) -> None:
    """Write what is set apart of all tables, also when that is nothing."""
    pq.write_table(pa.concat_tables([SCHEMA.empty_table(), *tables]), folder / QUARANTINE_FILE, compression="zstd")
