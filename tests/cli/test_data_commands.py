"""`eve data` from the outside."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from eve_core.cli.data import data_app
from eve_core.config import SyntheticWorldConfig
from eve_core.data.synthetic.world import draw_world
from eve_core.errors import UserError

WIDE = {"COLUMNS": "200"}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("cli") / "world"
    sizes = SyntheticWorldConfig(coco_images=12, nlvr2_pairs=10, flickr_images=6, flickr_test_images=2)
    draw_world(sizes, out, progress=False)
    return out


def test_a_set_is_prepared_and_shown(world: Path, tmp_path: Path) -> None:
    arguments = ["prepare", "nlvr2", "--root", str(world / "nlvr2"), "--out", str(tmp_path / "out"), "--allow-partial"]
    made = CliRunner().invoke(data_app, arguments, env=WIDE, catch_exceptions=False)
    shown = CliRunner().invoke(data_app, ["show", str(tmp_path / "out"), "--verify"], env=WIDE, catch_exceptions=False)
    assert made.exit_code == shown.exit_code == 0
    assert "statements" in shown.output
    assert "train 8" in shown.output
    assert "of 86,373" in shown.output


def test_left_out_annotations_are_reported_with_examples(world: Path, tmp_path: Path) -> None:
    gone = tmp_path / "images"
    gone.mkdir()
    pictures = sorted((world / "nlvr2/images").iterdir())
    for path in pictures[:-1]:
        (gone / path.name).write_bytes(path.read_bytes())
    arguments = [
        "prepare",
        "nlvr2",
        "--root",
        str(world / "nlvr2"),
        "--images",
        str(gone),
        "--out",
        str(tmp_path / "out"),
    ]
    with pytest.raises(UserError, match=r"nlvr2 is not whole: .*nlvr2 train: 8 of 86,373 statements.*--allow-partial"):
        CliRunner().invoke(data_app, arguments, env=WIDE, catch_exceptions=False)
    partial = CliRunner().invoke(data_app, [*arguments, "--allow-partial"], env=WIDE, catch_exceptions=False)
    assert "1 missing picture" in partial.output
    assert pictures[-1].name in partial.output


@pytest.mark.parametrize("arguments", [["prepare"], ["prepare", "nlvr2"], ["prepare", "nlvr2", "--config", "x.yaml"]])
def test_half_a_command_is_explained(arguments: list[str]) -> None:
    result = CliRunner().invoke(data_app, arguments, env=WIDE)
    assert result.exit_code == 2
    assert "give either --config FILE, or SET" in result.output
