"""What tests of several rooms share: the real samples, a small synthetic world in its prepared form, a webhook."""

import inspect
import json
import os
import threading
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

# Two test processes share two cores; with two threads each they would wait for one another. Read at torch's import.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest

from eve_core.config import DataConfig, SyntheticWorldConfig
from eve_core.data.prepare import prepare_all
from eve_core.data.prepared import PreparedData

_REPOSITORY = Path(__file__).parents[1]
SIZES = SyntheticWorldConfig(seed=3, coco_images=48, nlvr2_pairs=40, flickr_images=24, flickr_test_images=8)


def world_config(sizes: SyntheticWorldConfig = SIZES) -> DataConfig:
    """All four sets of a synthetic world."""
    world = "${EVE_SYNTHETIC_WORLD}"
    subsets = ("train2014", "val2014")
    return DataConfig.model_validate(
        {
            "synthetic": sizes.model_dump(),
            "allow_partial": False,
            "leak_ways": ["id", "coco_id", "bytes"],
            "sources": [
                {
                    "set": "coco_captions",
                    "annotations": [f"{world}/coco/annotations/captions_{subset}.json" for subset in subsets],
                    "images": f"{world}/coco",
                },
                {
                    "set": "vqa_v2",
                    "questions": [f"{world}/vqa2/v2_OpenEnded_mscoco_{subset}_questions.json" for subset in subsets],
                    "annotations": [f"{world}/vqa2/v2_mscoco_{subset}_annotations.json" for subset in subsets],
                    "images": f"{world}/coco",
                },
                {
                    "set": "nlvr2",
                    "statements": [f"{world}/nlvr2/{split}.json" for split in ("train", "dev")],
                    "images": f"{world}/nlvr2/images",
                },
                {
                    "set": "flickr8k",
                    "annotations": f"{world}/flickr8k/dataset_flickr8k.json",
                    "images": f"{world}/flickr8k/images",
                },
            ],
        }
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files that take longest first, so that in the end no process is left alone with one."""
    minutes: dict[Path, float] = {}
    for item in items:
        mark = item.get_closest_marker("slow")
        minutes[item.path] = max(minutes.get(item.path, 0.0), mark.kwargs.get("minutes", 1.0) if mark else 0.0)
    items.sort(key=lambda item: -minutes[item.path])


@pytest.fixture(scope="session", autouse=True)
def _stacks_without_source_lines() -> Iterator[None]:
    """kfp asks for the whole stack at each setting of a step; with pytest's frames that made a compilation seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inspect, "stack", partial(inspect.stack, context=0))
        yield


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder with samples of the public sets; the test is skipped where there is none."""
    folder = Path(os.environ.get("EVE_REAL_DATA", _REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"the real samples are not in {folder}; set EVE_REAL_DATA to their folder")
    return folder


@pytest.fixture(scope="session")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds synthetic_world/ and prepared/."""
    workspace = tmp_path_factory.mktemp("workspace")
    prepare_all(world_config(), workspace / "prepared", workspace, progress=False)
    return workspace


@pytest.fixture(scope="session")
def world(workspace: Path) -> Path:
    """The small synthetic world."""
    return workspace / "synthetic_world"


@pytest.fixture(scope="session")
def prepared(workspace: Path) -> PreparedData:
    """The small synthetic world, prepared."""
    return PreparedData.open(workspace / "prepared", verify=True)


@pytest.fixture
def webhook(monkeypatch):
    """A server that takes messages, and what it got; `status` is what it answers."""
    got: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        status = 200

        def do_POST(self) -> None:
            got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["text"])
            self.send_response(Handler.status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("EVE_WEBHOOK_URL", f"http://127.0.0.1:{server.server_address[1]}/secret")
    yield Handler, got
    server.shutdown()
    server.server_close()
