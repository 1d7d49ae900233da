"""A TrainJob's processes as the Kubeflow SDK starts them without a cluster, on this machine."""

import os
import site
import zipfile
from importlib.metadata import distribution, version
from pathlib import Path

import pytest

from eve_core.config import LaunchConfig
from eve_core.training import launch
from eve_core.training.job import TrainingJob
from tests.training.test_distributed import job_of
from tests.training.test_pretraining import assert_same_weights

pytest.importorskip("kubeflow.trainer")
pytestmark = pytest.mark.slow(minutes=2)

_REPOSITORY = Path(__file__).parents[2]


def train(settings: dict[str, str]) -> None:
    """What the SDK copies into a script of its own and gives to torchrun."""
    import sys
    from pathlib import Path

    from eve_core.training.__main__ import main

    sys.exit(main(Path(settings["job"])))


@pytest.fixture
def index(tmp_path) -> Path:
    """Where pip finds PyTorch without a network: the command torchrun alone, for the package that is installed here."""
    folder = tmp_path / "index"
    folder.mkdir()
    release = version("torch").split("+")[0]
    about = f"torch-{release}.dist-info"
    with zipfile.ZipFile(folder / f"torch-{release}-py3-none-any.whl", "w") as wheel:
        wheel.writestr("here.pth", "\n".join([str(_REPOSITORY), *site.getsitepackages()]) + "\n")
        wheel.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: torch\nVersion: {release}\n")
        wheel.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{about}/entry_points.txt", distribution("torch").read_text("entry_points.txt") or "")
        wheel.writestr(f"{about}/RECORD", "")
    return folder


def test_the_local_process_backend_trains(prepared, tmp_path, index):
    from kubeflow.trainer import CustomTrainer, LocalProcessBackendConfig, TrainerClient

    here = job_of(prepared, tmp_path / "here", steps=4)
    launch(here, LaunchConfig())

    job: TrainingJob = job_of(prepared, tmp_path / "there", steps=4)
    path = Path(job.scratch) / "job.json"
    path.parent.mkdir()
    job.write(path)
    environment = {
        "PATH": os.environ["PATH"],
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(index),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
    }
    client = TrainerClient(LocalProcessBackendConfig())
    name = client.train(
        runtime="torch-distributed",
        trainer=CustomTrainer(
            func=train,
            func_args={"job": str(path)},
            packages_to_install=["torch"],
            pip_index_urls=["none"],
            env=environment,
        ),
    )
    ended = client.wait_for_job_status(name, {"Complete", "Failed"}, timeout=240, polling_interval=1)
    print(*client.get_job_logs(name), sep="\n")  # shown where the next line fails
    assert ended.status == "Complete"
    assert_same_weights(Path(job.out), Path(here.out))
