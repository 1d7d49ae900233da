"""What a validation found."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from eve_core.errors import UserError
from eve_core.quality.drift import Drift
from eve_core.quality.quarantine import QuarantineSummary


@dataclass(frozen=True)
class ExpectationResult:
    """One expectation on one table."""

    table: str
    """Such as "captions of flickr8k"."""
    suite: str
    expectation: str
    """Its Great Expectations name."""
    column: str
    """What it looks at: a column of the table, or one of `eve_core.quality.measures`."""
    arguments: dict[str, Any]
    """What is expected: bounds, values, a pattern, the share of rows on which it must hold."""
    why: str
    severity: str
    """critical, quarantine or warning."""
    passed: bool
    rows: int
    """Rows of the table."""
    observed: Any
    """The first offending values, or why it could not be evaluated."""
    unexpected_count: int
    """Offending rows; an expectation that may fail on some of them can pass all the same."""
    example_rows: list[str]
    """Ids of the first offending rows."""

    @property
    def stops_the_run(self) -> bool:
        """Whether it failed and is critical."""
        return not self.passed and self.severity == "critical"

    def sentence(self, rows_in_message: int) -> str:
        """What failed, where, on how many rows and which."""
        where = f"{self.table}: {self.expectation} on {self.column}"
        if not self.unexpected_count:
            return f"{where} failed ({self.observed})"
        named = self.example_rows[:rows_in_message]
        more = ", ..." if self.unexpected_count > len(named) else ""
        return f"{where} failed on {self.unexpected_count} of {self.rows} rows ({', '.join(named)}{more})"


@dataclass(frozen=True)
class ValidationReport:
    """Every expectation on every table of one prepared data set, and what followed."""

    data_digest: str
    """Digest of the data that was validated."""
    previous_digest: str | None
    """Digest of the data that it was compared with; None when there was none."""
    results: list[ExpectationResult]
    quarantine: list[QuarantineSummary]
    """One for each table of annotations."""
    drift: list[Drift]
    """One for each distribution; empty when there was nothing to compare with."""
    skipped: list[str]
    """Enabled suites without a table of their kind in the data."""
    folder: Path
    """Holds index.html, report.json, statistics.json, quarantine.parquet and the data docs."""
    rows_in_message: int
    """How many offending rows a message names."""

    @property
    def passed(self) -> bool:
        """Whether nothing stops the run."""
        return not self.stops

    @property
    def failures(self) -> list[ExpectationResult]:
        """Critical expectations that failed."""
        return [result for result in self.results if result.stops_the_run]

    @property
    def stops(self) -> list[str]:
        """A sentence for each thing that stops the run: a critical expectation, an exceeded budget, or drift."""
        return [
            *(result.sentence(self.rows_in_message) for result in self.failures),
            *(summary.sentence for summary in self.quarantine if summary.stops_the_run),
            *(drift.sentence for drift in self.drift if drift.verdict == "stop"),
        ]

    @property
    def warnings(self) -> list[str]:
        """A sentence for each thing that is reported and does not stop the run."""
        return [
            *(
                result.sentence(self.rows_in_message)
                for result in self.results
                if not result.passed and result.severity == "warning"
            ),
            *(drift.sentence for drift in self.drift if drift.verdict == "warning"),
        ]

    @property
    def quarantined(self) -> int:
        """Rows in quarantine, of all tables."""
        return sum(summary.quarantined for summary in self.quarantine)

    @property
    def page(self) -> Path:
        """The page to open."""
        return self.folder / "index.html"

    def raise_if_failed(self) -> None:
        """Stop the run when something asks for it.

        Raises:
            UserError: names every failed expectation, its table, how many rows and the first of them, and the page.
        """
        if not self.passed:
            raise UserError(
                f"data validation failed: {'; '.join(self.stops)}; mend the data, see {self.page} for every check"
            )

    def to_json(self) -> str:
        """The content of report.json."""
        content = {
            "format": 2,
            "data_digest": self.data_digest,
            "previous_digest": self.previous_digest,
            "passed": self.passed,
            "stops": self.stops,
            "warnings": self.warnings,
            "skipped_suites": self.skipped,
            "quarantine": [asdict(summary) for summary in self.quarantine],
            "drift": [asdict(drift) for drift in self.drift],
            "expectations": [asdict(result) for result in self.results],
        }
        return json.dumps(content, indent=1) + "\n"
