"""`eve check` and `eve compile`, and how the command line speaks of mistakes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[2]


def _eve(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "eve_core.cli.main", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=_ROOT, env=dict(os.environ), check=False)


def test_check_accepts_every_config_of_the_project() -> None:
    done = _eve("check")
    assert done.returncode == 0, done.stderr
    assert "configs/demo.yaml: good" in done.stdout


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        (
            "batch_size: 64",
            "batch_sise: 64",
            "unknown key pretraining.optimization.batch_sise (did you mean batch_size?)",
        ),
        ("steps: 400", "steps: many", "pretraining.optimization.steps"),
        ("seed: 1", "seed: [", "is not valid YAML"),
        ("repository: .", "repository: ${NOT_SET_ANYWHERE}", "${NOT_SET_ANYWHERE}, which is not set"),
    ],
)
def test_check_names_what_is_wrong(tmp_path: Path, old: str, new: str, sentence: str) -> None:
    text = (_ROOT / "configs" / "demo.yaml").read_text()
    assert old in text
    path = tmp_path / "wrong.yaml"
    path.write_text(text.replace(old, new, 1))
    done = _eve("check", path)
    assert done.returncode == 1
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_a_missing_config_is_one_sentence() -> None:
    done = _eve("run", "--config", "nowhere.yaml")
    assert done.returncode == 1
    assert done.stderr.strip() == (
        "error: the config file nowhere.yaml does not exist; check the path in the config or on the command line"
    )


def test_compile_writes_the_pipeline(tmp_path: Path) -> None:
    out = tmp_path / "build" / "eve.yaml"
    done = _eve("compile", "--out", out)
    assert done.returncode == 0, done.stderr
    assert "pipelineInfo" in out.read_text()
