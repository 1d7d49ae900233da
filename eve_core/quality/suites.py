"""Expectation suites: declared in suites/<kind>.yaml, one file a kind of table, and built into Great Expectations."""

from functools import cache
from importlib.resources import files
from typing import Any, Literal

import yaml
from pydantic import Field, model_validator

from eve_core.config.section import Section
from eve_core.errors import UserError

SUITES = ("columns", "images", "captions", "questions", "statements", "splits")


class DeclaredExpectation(Section):
    """One expectation about the rows of a table."""

    type: str
    """Its Great Expectations name, such as expect_column_values_to_be_in_set."""
    kwargs: dict[str, Any]
    """Its arguments; `column` is a column of the table or of eve_core.quality.measures."""
    why: str
    """What goes wrong when it does not hold."""
    severity: Literal["critical", "quarantine", "warning"] = "critical"
    """What follows when it does not hold: the run stops, the offending rows are left out, or it is reported."""
    reason: str | None = None
    """Of a quarantine expectation: the reason that is kept with a row, such as "blank_text"."""
    sets: list[str] | None = None
    """The sets that it is about; all when not given."""

    @model_validator(mode="after")
    def _quarantine_has_a_reason(self) -> "DeclaredExpectation":
        if (self.severity == "quarantine") != (self.reason is not None):
            raise ValueError(f"{self.type} on {self.column}: severity quarantine and a reason come together")
        return self

    @property
    def column(self) -> str:
        """The column it looks at."""
        return str(self.kwargs["column"])


class Suite(Section):
    """The expectations on one kind of table."""

    row_id: str
    """Column that names a row in messages and in quarantine."""
    expectations: list[DeclaredExpectation] = Field(min_length=1)
    """All of them are evaluated."""

    def about(self, set_name: str) -> list[DeclaredExpectation]:
        """The expectations on the table of a set."""
        return [declared for declared in self.expectations if declared.sets is None or set_name in declared.sets]


@cache
def load_suite(kind: str) -> Suite:
    """The suite of a kind of table.

    Raises:
        UserError: there is no suite of that name.
    """
    if kind not in SUITES:
        raise UserError(
            f"validation.enabled_suites names {kind!r}, which is no suite; the suites are {', '.join(SUITES)}"
        )
    declared = _read(kind)
    if shared := declared.pop("include", None):
        declared["expectations"] = _read(shared)["expectations"] + declared["expectations"]
    return Suite.model_validate(declared)


def build_suite(name: str, expectations: list[DeclaredExpectation]) -> Any:
    """The Great Expectations ExpectationSuite; `meta["position"]` of each is its place in `expectations`."""
    import great_expectations as gx
    from great_expectations.expectations.registry import get_expectation_impl

    built = [
        get_expectation_impl(declared.type)(
            **declared.kwargs,
            notes=declared.why,
            severity="critical" if declared.severity == "critical" else "warning",
            meta={"position": position},
        )
        for position, declared in enumerate(expectations)
    ]
    return gx.ExpectationSuite(name=name, expectations=built)


def _read(name: str) -> dict[str, Any]:
    declared: dict[str, Any] = yaml.safe_load(
        files("eve_core.quality").joinpath("suites", f"{name}.yaml").read_text(encoding="utf-8")
    )
    return declared
