import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from eve_core.config import ValidationConfig
from eve_core.data.records import KIND_OF_SET, SCHEMAS
from eve_core.quality.checkpoint import evaluate, quiet_context
from eve_core.quality.suites import SUITES, DeclaredExpectation, build_suite, load_suite
from eve_core.quality.tables import read_tables
from tests.quality.conftest import Prepare, good_rows


def test_there_is_a_suite_for_every_kind_of_table() -> None:
    assert set(SUITES) - {"columns", "splits"} == set(SCHEMAS) - {"quarantine"}


@pytest.mark.parametrize("kind", SUITES)
def test_a_suite_is_what_great_expectations_builds_from_it(kind: str) -> None:
    suite = load_suite(kind)
    built = build_suite(kind, suite.expectations).expectations
    assert len(built) == len(suite.expectations)
    for declared, expectation in zip(suite.expectations, built, strict=True):
        assert expectation.expectation_type == declared.type
        assert declared.kwargs.items() <= expectation.configuration.kwargs.items()
        assert expectation.notes == declared.why
        assert (expectation.severity == "critical") is (declared.severity == "critical")


def test_a_suite_names_columns_of_its_table(prepare: Prepare) -> None:
    for table in read_tables(prepare(good_rows()), ValidationConfig()):
        suite = load_suite(table.kind)
        assert {declared.column for declared in suite.expectations} <= set(table.columns), table.name
        assert suite.row_id in table.rows.column_names


def test_an_expectation_names_sets_of_its_kind() -> None:
    for kind in SUITES:
        for declared in load_suite(kind).expectations:
            assert {KIND_OF_SET[name] for name in declared.sets or []} <= {kind}


def test_an_expectation_on_some_sets_is_about_those() -> None:
    suite = load_suite("questions")
    counts = {
        name: [declared.kwargs["value_set"] for declared in suite.about(name) if declared.column == "answer_count"]
        for name in ("vqa_v2", "visual_genome_qa")
    }
    assert counts == {"vqa_v2": [[10]], "visual_genome_qa": [[1]]}


def test_rows_go_to_quarantine_for_a_reason() -> None:
    declared = {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "split"}, "why": "."}
    with pytest.raises(ValidationError, match="severity quarantine and a reason come together"):
        DeclaredExpectation(**declared, severity="quarantine")
    with pytest.raises(ValidationError, match="severity quarantine and a reason come together"):
        DeclaredExpectation(**declared, severity="warning", reason="blank")


@pytest.mark.parametrize("kind", ["columns", "splits", "images"])
def test_only_annotations_go_to_quarantine(kind: str) -> None:
    assert "quarantine" not in {declared.severity for declared in load_suite(kind).expectations}


def test_evaluating_again_replaces_what_was_built_before(prepare: Prepare, tmp_path: Path) -> None:
    context = quiet_context(tmp_path)
    (table,) = read_tables(prepare(good_rows()), ValidationConfig(enabled_suites=["captions"]))
    for _ in range(2):
        evaluate(context, table, load_suite("captions").about(table.set), "run")
    (suite,) = context.suites.all()
    assert len(suite.expectations) == len(load_suite("captions").about(table.set))
    assert len(list(context.checkpoints.all())) == len(list(context.validation_definitions.all())) == 1
    assert [asset.name for asset in context.data_sources.get("prepared").assets] == ["captions-coco_captions-1-to-3"]


def test_importing_the_room_does_not_import_great_expectations() -> None:
    code = "import sys, eve_core.quality; sys.exit('great_expectations' in sys.modules or 'pandas' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
