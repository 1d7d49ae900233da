"""`eve champion` from the outside."""

from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from eve_core.cli.main import app
from eve_core.registry.promotion import promote, rollback

DEMO = Path(__file__).parents[2] / "configs" / "demo.yaml"


@pytest.fixture
def eve(config, tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump({"base": str(DEMO), "registry": config.model_dump(mode="json")}))

    def eve(*arguments: str) -> str:
        given = ["champion", *arguments, "--config", str(path)]
        done = CliRunner().invoke(app, given, env={"COLUMNS": "80"}, catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.output

    return eve


def test_who_is_champion_and_why_is_said_in_any_window(eve, config, registered):
    assert eve("show").splitlines() == ["nlvr2: no champion", "retrieval: no champion", "vqa: no champion"]
    for weights, before in (("a", None), ("b", "1")):
        reason = f"the page of {weights} looks right to whoever has to answer for what it says"
        version = registered(weights, champion=before)
        promote(config, task="vqa", version=version, reason=reason, serving_check=lambda *_: None)
    rollback(config, task="vqa", reason="answers got slow", serving_check=lambda *_: None)
    said = eve("show").splitlines()
    assert said[2].startswith("vqa: version 1, since 20")
    assert said[3:] == ["  answers got slow", "  accuracy  0.7"]
    assert eve("history").count("promotion") == 2
    assert "vqa: 3 entries" in eve("verify")
