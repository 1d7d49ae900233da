import pytest

from benchmarks.validation import generate
from eve_core.data.prepared import PreparedData
from tests.benchmarks.test_benchmarks import run_quick


@pytest.mark.slow
def test_validation(tmp_path):
    result = run_quick("validation", tmp_path, "--rows", "500", "1000")
    assert [row["annotation_rows"] for row in result["rows"]] == [500, 1000]
    for row in result["rows"]:
        assert 0.1 < row["peak_memory_gb"] < 2
        assert row["checks"] > 40
    assert {line["target"] for line in result["lines"]} == {None}  # they are for a million rows


def test_the_generated_data_has_the_rows_that_were_asked_for(tmp_path):
    generate(tmp_path, 1000)
    data = PreparedData.open(tmp_path, verify=True)
    counts = {kind: data.table(kind).num_rows for kind in ("captions", "questions", "statements")}
    assert counts == {"captions": 600, "questions": 300, "statements": 100}
    captions = data.table("captions").to_pandas()
    assert captions.groupby("image_id").size().eq(5).all()
    assert set(captions["image_id"]) <= set(data.images)
    assert captions.groupby("image_id")["split"].nunique().eq(1).all()
