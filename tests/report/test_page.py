"""The report page shows what the steps of a run drew."""

import base64
from pathlib import Path

import pytest

from eve_core.config import RegistryConfig, load_config
from eve_core.registry.tracking import step_run
from eve_core.report import collect, write_page

DEMO = Path(__file__).parents[2] / "configs" / "demo.yaml"
# The figures of pre-training, and the words of the page above each.
HEADINGS = {
    "training": "Losses and routers",
    "predictions": "Held-out pairs: what was masked, predicted",
    "routing": "Soft routers: which experts serve which modality",
}


def page_of(registry: RegistryConfig, folder: Path, key: str, figures: list[str]) -> str:
    (folder / key / "figures").mkdir(parents=True)
    with step_run(registry, key, "pretrain") as run:
        for name in figures:
            (folder / key / "figures" / f"{name}.png").write_bytes(f"picture of {name}".encode())
        run.log_artifact(folder / key / "figures")
    config = load_config(DEMO).model_copy(update={"registry": registry})
    write_page(collect(registry, key), config, folder / f"{key}.html")
    return (folder / f"{key}.html").read_text()


@pytest.mark.slow
def test_every_figure_of_pre_training_is_on_the_page_and_nothing_else(tmp_path):
    registry = RegistryConfig(tracking_uri=f"sqlite:///{tmp_path}/mlflow.db", artifacts=str(tmp_path / "artifacts"))
    for key, figures in {"all": list(HEADINGS), "contrast": ["training", "routing"]}.items():
        page = page_of(registry, tmp_path, key, figures)
        for name, heading in HEADINGS.items():
            embedded = base64.b64encode(f"picture of {name}".encode()).decode()
            assert (embedded in page) == (heading in page) == (name in figures)
        assert "Pre-training did not finish" not in page
