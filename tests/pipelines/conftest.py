"""A run small enough to go through the whole local DAG in a minute or two."""

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

DEMO = Path(__file__).parents[2] / "configs" / "demo.yaml"
_WORLD = {"coco_images": 120, "nlvr2_pairs": 60, "flickr_images": 90, "flickr_test_images": 30}


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The demonstration's settings, cut down, in a workspace and a data repository of its own.

    The gates of vqa and nlvr2 ask for what any model reaches, that of retrieval for what none can.
    """
    folder = tmp_path_factory.mktemp("run")
    tree = yaml.safe_load(DEMO.read_text())
    tree["name"] = "tiny"
    tree["workspace"] = str(folder / "eve")
    tree["registry"] = {
        "tracking_uri": f"sqlite:///{folder / 'eve' / 'mlflow.db'}",
        "artifacts": str(folder / "eve" / "mlflow-artifacts"),
    }
    tree["data"] |= {"repository": str(folder / "repository"), "commit": True, "synthetic": _WORLD}
    tree["pretraining"]["optimization"] |= {"steps": 4, "batch_size": 16}
    for name, task in tree["tasks"].items():
        task["finetuning"]["optimization"] |= {"steps": 40 if name == "vqa" else 3, "batch_size": 16}
        task["gate"]["min_items"] = 10
        task.setdefault("evaluation", {}).update({"requests": 4, "slices": []})
    tree["tasks"]["vqa"]["finetuning"]["min_answer_count"] = 2
    tree["tasks"]["vqa"]["gate"]["floors"] = [{"metric": "accuracy", "at_least": 0.02}]
    tree["tasks"]["nlvr2"]["gate"]["floors"] = [{"metric": "accuracy", "at_least": 0.0}]
    tree["tasks"]["retrieval"]["gate"]["floors"] = [{"metric": "image_recall_at_1", "at_least": 1.5}]
    return tree


def write(tree: dict[str, Any], path: Path) -> Path:
    """A run's settings as a YAML file."""
    path.write_text(yaml.safe_dump(copy.deepcopy(tree)))
    return path
