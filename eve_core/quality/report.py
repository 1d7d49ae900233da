"""What a validation found."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from eve_core.errors import UserError


@dataclass(frozen=True)
class ExpectationResult:
    """One expectation on one table."""

    table: str
    """Such as "captions of flickr8k"."""
    suite: str
    expectation: str
    """Its Great Expectations name."""
    column: str | None
    """None when it is about the whole table."""
    why: str
    severity: str
    """critical or warning."""
    passed: bool
    rows: int
    """Rows of the table."""
    observed: Any
    """The observed value, or the first offending values."""
    unexpected_count: int
    """Offending rows; 0 for an expectation about the whole table."""
    example_rows: list[str]
    """Ids of the first offending rows."""

    @property
    def stops_the_run(self) -> bool:
        """Whether it failed and is critical."""
        return not self.passed and self.severity == "critical"

    def sentence(self, rows_in_message: int) -> str:
        """What failed, where, on how many rows and which."""
        where = f"{self.table}: {self.expectation}" + (f" on {self.column}" if self.column else "")
        if not self.unexpected_count:
            return f"{where} failed (observed {self.observed})"
        named = self.example_rows[:rows_in_message]
        more = ", ..." if named and self.unexpected_count > len(named) else ""
        ids = f" ({', '.join(named)}{more})" if named else ""
        return f"{where} failed on {self.unexpected_count} of {self.rows} rows{ids}"


@dataclass(frozen=True)
class ValidationReport:
    """Every expectation on every table of one prepared data set."""

    data_digest: str
    """Digest of the data that was validated."""
    results: list[ExpectationResult]
    skipped: list[str]
    """Enabled suites without a table of their kind in the data."""
    folder: Path
    """Holds report.json and the data docs."""
    rows_in_message: int
    """How many offending rows a message names."""

    @property
    def passed(self) -> bool:
        """Whether every critical expectation holds."""
        return not self.failures

    @property
    def failures(self) -> list[ExpectationResult]:
        """Critical expectations that failed."""
        return [result for result in self.results if result.stops_the_run]

    @property
    def warnings(self) -> list[ExpectationResult]:
        """Failed expectations that do not stop a run."""
        return [result for result in self.results if not result.passed and result.severity == "warning"]

    @property
    def data_docs(self) -> Path:
        """The page to open."""
        return self.folder / "index.html"

    def raise_if_failed(self) -> None:
        """Stop the run unless every critical expectation holds.

        Raises:
            UserError: names every failed expectation, its table, how many rows and the first of them, and the page.
        """
        if self.failures:
            found = "; ".join(result.sentence(self.rows_in_message) for result in self.failures)
            raise UserError(f"data validation failed: {found}; mend the data, see {self.data_docs} for every check")

    def to_json(self) -> str:
        """The content of report.json."""
        content = {
            "format": 1,
            "data_digest": self.data_digest,
            "passed": self.passed,
            "skipped_suites": self.skipped,
            "expectations": [asdict(result) for result in self.results],
        }
        return json.dumps(content, indent=1) + "\n"
