import subprocess
import sys

import pytest

from eve_core.data.records import SCHEMAS
from eve_core.quality.suites import SUITES, build_suite, load_suite

DERIVED = {
    "image_known",
    "left_image_known",
    "right_image_known",
    "picture_trained_on",
    "copy_trained_on",
    "answer_count",
}


def test_there_is_a_suite_for_every_kind_of_table() -> None:
    assert set(SUITES) == set(SCHEMAS)


@pytest.mark.parametrize("kind", SUITES)
def test_a_suite_is_what_great_expectations_builds_from_it(kind: str) -> None:
    suite = load_suite(kind)
    built = build_suite(kind, suite).expectations
    assert len(built) == len(suite.expectations)
    for declared, expectation in zip(suite.expectations, built, strict=True):
        assert expectation.expectation_type == declared.type
        assert declared.kwargs.items() <= expectation.configuration.kwargs.items()
        assert expectation.severity == declared.severity
        assert expectation.notes == declared.why


@pytest.mark.parametrize("kind", SUITES)
def test_a_suite_names_columns_of_its_table(kind: str) -> None:
    suite = load_suite(kind)
    columns = {expectation.column for expectation in suite.expectations} - {None}
    assert columns <= set(SCHEMAS[kind].names) | DERIVED
    assert suite.row_id in SCHEMAS[kind].names


def test_importing_the_room_does_not_import_great_expectations() -> None:
    code = "import sys, eve_core.quality; sys.exit('great_expectations' in sys.modules or 'pandas' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
