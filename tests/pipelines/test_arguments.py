"""What a step receives is what the config says."""

import copy
from pathlib import Path

import pytest
import yaml

from eve_core.code_digest import code_digest
from eve_core.config import PretrainingConfig, RunConfig, load_config
from eve_core.errors import UserError
from pipelines.eve_training.arguments import cluster_arguments, pipeline_arguments

_DEMO = yaml.safe_load((Path(__file__).parents[2] / "configs" / "demo.yaml").read_text())


@pytest.mark.parametrize("augmentation", [None, {}, {"flip": False, "rand_augment": [2, 7]}])
def test_pre_training_gets_the_augmentation_of_the_config(augmentation):
    tree = copy.deepcopy(_DEMO)
    tree["pretraining"]["augmentation"] = augmentation
    config = RunConfig.model_validate(tree)
    received = PretrainingConfig.model_validate(pipeline_arguments(config)["pretraining"])
    assert received == config.pretraining
    assert (received.augmentation is None) == (augmentation is None)


def test_files_that_a_config_names_count_as_code(tmp_path):
    folder = tmp_path / "tokenizer"
    folder.mkdir()
    (folder / "vocab.txt").write_text("a")
    before = code_digest([folder])
    (folder / "vocab.txt").write_text("b")
    assert code_digest([folder]) != before != code_digest()


def test_a_workspace_that_the_clusters_steps_do_not_see_is_refused():
    config = load_config(Path(__file__).parents[2] / "configs" / "eve_base_cluster.yaml")
    assert config.cluster is not None
    inside = Path(config.cluster.mount_path) / "runs"
    assert cluster_arguments(config.model_copy(update={"workspace": inside}))["run"]["workspace"] == str(inside)
    with pytest.raises(UserError, match="workspace /home/me/eve is on this machine"):
        cluster_arguments(config.model_copy(update={"workspace": Path("/home/me/eve")}))
