"""Expectation suites: declared in suites/<kind>.yaml, one file a kind of table, and built into Great Expectations."""

from functools import cache
from importlib.resources import files
from typing import Any, Literal

import yaml
from pydantic import Field

from eve_core.config.section import Section
from eve_core.errors import UserError

SUITES = ("images", "captions", "questions", "statements")


class DeclaredExpectation(Section):
    """One expectation of a suite."""

    type: str
    """Its Great Expectations name, such as expect_column_values_to_be_unique."""
    kwargs: dict[str, Any]
    """Its arguments."""
    why: str
    """What goes wrong when it does not hold."""
    severity: Literal["critical", "warning"] = "critical"
    """A failing critical expectation stops the run; a warning is reported."""

    @property
    def column(self) -> str | None:
        """The column it looks at; None when it looks at the whole table."""
        return self.kwargs.get("column")


class Suite(Section):
    """The expectations on one kind of table."""

    row_id: str
    """Column that names a row in messages."""
    expectations: list[DeclaredExpectation] = Field(min_length=1)
    """All of them are evaluated."""


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
    text = files("eve_core.quality").joinpath("suites", f"{kind}.yaml").read_text(encoding="utf-8")
    return Suite.model_validate(yaml.safe_load(text))


def build_suite(name: str, suite: Suite) -> Any:
    """The Great Expectations ExpectationSuite; `meta["position"]` of each expectation is its place in `suite`."""
    import great_expectations as gx
    from great_expectations.expectations.registry import get_expectation_impl

    expectations = [
        get_expectation_impl(declared.type)(
            **declared.kwargs, notes=declared.why, severity=declared.severity, meta={"position": position}
        )
        for position, declared in enumerate(suite.expectations)
    ]
    return gx.ExpectationSuite(name=name, expectations=expectations)
