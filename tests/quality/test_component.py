"""The step of the pipeline: what it keeps in MLflow, and which earlier report it compares with."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from components.data_processing.validate_data.component import validate_data
from eve_core.config import DataConfig, RegistryConfig, RunSettings
from eve_core.data.prepared import PreparedData
from eve_core.data.versioning.location import note_location
from eve_core.errors import UserError
from tests.quality.conftest import Prepare, Rows, caption, good_rows

pytestmark = pytest.mark.usefixtures("_no_data_docs")


def with_captions(number: int) -> Rows:
    rows = good_rows()
    rows["captions", "coco_captions", "train"] += [
        caption(f"c{place}", f"coco/{3 + place % 3}") for place in range(number)
    ]
    return rows


@pytest.mark.slow
def test_a_validation_is_compared_with_the_newest_finished_one_of_other_data(
    prepare: Prepare, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = RegistryConfig(tracking_uri=f"sqlite:///{tmp_path}/mlflow.db", artifacts=str(tmp_path / "artifacts"))
    settings = RunSettings(seed=0, workspace=tmp_path, code_digest="code", registry=registry)
    reports = iter(tmp_path / str(number) / "report" for number in range(9))

    def previous_digest(data: PreparedData) -> str | None:
        report = next(reports)
        note_location(data, DataConfig(), report.parent / "prepared")
        monkeypatch.setenv("EVE_PIPELINE_RUN", f"run-{report.parent.name}")
        validate_data.python_func(
            SimpleNamespace(path=str(report.parent / "prepared")),
            {"enabled_suites": ["captions"]},
            settings.model_dump(mode="json"),
            SimpleNamespace(path=str(report)),
        )
        found = json.loads((report / "report.json").read_text())["previous_digest"]
        assert found is None or isinstance(found, str)
        return found

    first = prepare(with_captions(1))
    assert previous_digest(first) is None
    assert previous_digest(first) is None  # the same data is no revision before
    second = prepare(with_captions(2))
    assert previous_digest(second) == first.digest
    broken = with_captions(3)
    broken["captions", "coco_captions", "train"].append(caption("9", "coco/404"))
    with pytest.raises(UserError, match="image_known failed on 1 of"):
        previous_digest(prepare(broken))
    assert previous_digest(prepare(with_captions(4))) == second.digest  # one that failed is not compared with
