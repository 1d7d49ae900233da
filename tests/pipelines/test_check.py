"""What `eve check` finds before anything runs."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from kfp import compiler, dsl

from eve_core.errors import UserError
from pipelines.eve_training.check import (
    check_config,
    check_pipeline,
    check_registry_calls,
    compile_pipeline,
    node_pools,
)

_ROOT = Path(__file__).parents[2]
_CONFIG = _ROOT / "configs" / "eve_base_cluster.yaml"


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    return compile_pipeline(tmp_path_factory.mktemp("compiled") / "pipeline.yaml")


@pytest.fixture
def changed(tmp_path, monkeypatch):
    """Writes the cluster's config with changes, by dotted key."""
    monkeypatch.chdir(_ROOT)  # where node pools are named from

    def changed(**changes):
        tree = yaml.safe_load(_CONFIG.read_text())
        tree["base"] = str(_CONFIG.parent / tree["base"])
        for key, value in changes.items():
            *sections, last = key.split("__")
            section = tree
            for name in sections:
                section = section[name]
            section[last] = value
        path = tmp_path / "config.yaml"
        path.write_text(yaml.safe_dump(tree))
        return path

    return changed


def test_the_clusters_config_is_good(pipeline, changed):
    check_config(changed(), pipeline)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cluster__imagess": {}}, r"unknown key cluster\.imagess \(did you mean images\?\)"),
        ({"cluster__images": {"data": "eve/data:1"}}, r"key cluster\.images\.train is missing"),
        (
            {"cluster__images": {"data": "eve/data:1", "train": "registry:5000/eve/train"}},
            r"cluster\.images\.train: registry:5000/eve/train has no fixed tag",
        ),
        ({"cluster__endpoint": "ml-pipeline.kubeflow"}, "endpoint ml-pipeline.kubeflow is no URL"),
        ({"cluster__gpu_pool": {}}, r"finetune, evaluate ask for GPUs, but gpu_pool\.node_selector names no nodes"),
        (
            {"cluster__gpu_pool__node_selector": {"gpu": "h100"}},
            r"cluster\.gpu_pool\.node_selector asks for nodes with gpu=h100, "
            r"and none of infra/kustomize/overlays/gke/node_pools\.yaml has them \(a100-spot, a100-on-demand\)",
        ),
        (
            {"cluster__gpu_pool__prefer": {"cheap": "true"}},
            r"cluster\.gpu_pool\.prefer asks for nodes with .*cheap=true",
        ),
        (
            {"pretraining__launch__trainjob__node_selector": {"pool": "a100"}},
            r"pretraining\.launch\.trainjob\.node_selector asks for nodes with pool=a100",
        ),
        ({"cluster__node_pools": "nowhere.yaml"}, r"cluster\.node_pools nowhere\.yaml cannot be read"),
        ({"cluster__node_pools": "configs/demo.yaml"}, "declares no ContainerNodePool"),
        ({"registry__tracking_uri": "http://eve:password@mlflow"}, "it may hold no password"),
        ({"registry__tracking_uri": "sqlite:///mlflow.db"}, "a cluster needs the URL of an MLflow server"),
        ({"schedule__drift": {"threshold": 0.2, "windows": 2, "violations": 3}}, "violations is 3 of 2 windows"),
    ],
)
def test_what_is_wrong_with_a_cluster_is_named(pipeline, changed, changes, message):
    with pytest.raises(UserError, match=message):
        check_config(changed(**changes), pipeline)


def test_a_parameter_without_a_source_is_named(pipeline, changed):
    declared = pipeline["root"]["inputDefinitions"]["parameters"]
    wider = {**pipeline, "root": {"inputDefinitions": {"parameters": {**declared, "extra": {}}}}}
    with pytest.raises(UserError, match=r"the pipeline's parameters lack a source \(\['extra'\]\)"):
        check_config(changed(), wider)
    narrower = {name: value for name, value in declared.items() if name != "model"}
    with pytest.raises(UserError, match=r"do not exist \(\['model'\]\)"):
        check_config(changed(), {**pipeline, "root": {"inputDefinitions": {"parameters": narrower}}})


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def _verdict() -> bool:
    return True


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def _act() -> bool:
    return True


def _compiled(function, folder: Path) -> dict:
    compiler.Compiler().compile(function, str(folder / "p.yaml"))
    return yaml.safe_load((folder / "p.yaml").read_text())


def test_a_condition_on_a_named_output_is_found(tmp_path):
    from typing import NamedTuple

    class Outputs(NamedTuple):
        blessed: bool

    def gate() -> Outputs:
        return (True,)  # type: ignore[return-value]

    named = dsl.component(base_image="python:3.11", install_kfp_package=False)(gate)

    @dsl.pipeline(name="wrong")
    def wrong() -> None:
        with dsl.If(named().outputs["blessed"] == True):  # noqa: E712
            _act()

    @dsl.pipeline(name="right")
    def right(flag: bool = True) -> None:
        with dsl.If(_verdict().output == True), dsl.If(flag == True):  # noqa: E712
            _act()

    with pytest.raises(UserError, match=r"is on the named output blessed, which kfp\.local takes for false"):
        check_pipeline(_compiled(wrong, tmp_path))
    check_pipeline(_compiled(right, tmp_path))


def test_the_projects_pipelines_have_no_such_condition(pipeline):
    check_pipeline(pipeline)


def test_a_call_of_registry_stages_is_found_with_its_place(tmp_path):
    check_registry_calls()
    for package in ("eve_core", "components", "pipelines"):
        (tmp_path / package).mkdir()
    (tmp_path / "pipelines" / "old.py").write_text("import mlflow\n\nclient.transition_model_version_stage('eve', 1)\n")
    with pytest.raises(UserError, match=r"pipelines/old\.py:3 calls transition_model_version_stage"):
        check_registry_calls(tmp_path)


def test_labels_of_node_pools_are_what_the_scheduler_sees():
    pools = node_pools(_ROOT / "infra" / "kustomize" / "overlays" / "gke" / "node_pools.yaml")
    assert pools["a100-spot"]["cloud.google.com/gke-spot"] == "true"
    assert "cloud.google.com/gke-spot" not in pools["a100-on-demand"]


def test_nothing_heavy_is_imported(tmp_path):
    """Checking stays a matter of seconds."""
    code = (
        "import sys; from typer.testing import CliRunner; from eve_core.cli.main import app; "
        "done = CliRunner().invoke(app, ['check']); assert done.exit_code == 0, done.output; "
        "print(sorted({'torch', 'mlflow', 'great_expectations', 'prefect', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=_ROOT, check=True)
    assert done.stdout.strip() == "[]"
