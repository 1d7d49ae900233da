"""Steps pass on where data is, and find it again."""

import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from eve_core.data.versioning.location import fetch_to_workspace, open_noted
from eve_core.errors import UserError
from tests.data.versioning.conftest import caption_in


@pytest.fixture
def fetched(config, two, tmp_path):
    """The first revision in a workspace, and its note."""
    first = config.model_copy(update={"revision": two[0]})
    data = fetch_to_workspace(first, tmp_path / "workspace", tmp_path / "note")
    return first, data, tmp_path / "note"


def test_the_note_leads_to_the_data_and_holds_none_of_it(fetched):
    _, data, note = fetched
    assert open_noted(note).path == data.path
    assert caption_in(open_noted(note).path) == "first"
    assert [path.name for path in note.iterdir()] == ["location.json"]


def test_revisions_lie_side_by_side_and_equal_data_once(config, two, fetched, tmp_path):
    first, data, note = fetched
    second = config.model_copy(update={"revision": two[1]})
    other = fetch_to_workspace(second, tmp_path / "workspace", tmp_path / "second")
    assert other.path != data.path
    assert caption_in(open_noted(note).path) == "first"
    again = fetch_to_workspace(first, tmp_path / "workspace", tmp_path / "third")
    assert again.path == data.path


def test_data_that_was_removed_is_brought_again(fetched):
    _, data, note = fetched
    shutil.rmtree(data.path)
    assert caption_in(open_noted(note).path) == "first"


def test_steps_that_miss_it_at_once_bring_it_once(fetched):
    _, data, note = fetched
    shutil.rmtree(data.path)
    code = f"from eve_core.data.versioning.location import open_noted; print(open_noted({str(note)!r}).digest)"
    with ThreadPoolExecutor(3) as pool:
        done = [
            *pool.map(lambda _: subprocess.run([sys.executable, "-c", code], capture_output=True, text=True), range(3))
        ]
    assert [one.stdout.strip() for one in done] == [data.digest] * 3, [one.stderr for one in done]


def test_other_data_in_its_place_is_refused(config, two, fetched, tmp_path):
    _, data, note = fetched
    second = config.model_copy(update={"revision": two[1]})
    other = fetch_to_workspace(second, tmp_path / "workspace", tmp_path / "second")
    location = json.loads((note / "location.json").read_text())
    (note / "location.json").write_text(json.dumps({**location, "folder": str(other.path)}))
    with pytest.raises(
        UserError, match=f"holds data of digest {other.digest[:12]}, and the run reads {data.digest[:12]}"
    ):
        open_noted(note)


def test_a_folder_without_a_note_is_said(tmp_path):
    with pytest.raises(UserError, match="does not say where the data is"):
        open_noted(tmp_path)
