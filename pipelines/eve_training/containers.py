"""Steps as containers of the project's images on this machine, as kfp.local runs them, with what it lacks.

Steps see the folders that they read and write, under the same names as here, and nothing else: the rest of a container
is read-only. kfp's own way of running a container takes one that ends at once for a success, because it is removed
before its status is asked for; and it leaves containers running when the run is interrupted.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.images import IMAGES
from components.step import RUN_KEY_VARIABLE
from eve_core.config import RunConfig
from eve_core.data.versioning.git import is_url
from eve_core.errors import UserError
from pipelines.eve_training.arguments import named_files

if TYPE_CHECKING:
    from docker import DockerClient

_PASSED_ON = ("AWS_", "MLFLOW_", "EVE_")
"""Variables of this process that steps get as well: credentials, endpoints, settings."""


def container_runner(config: RunConfig, key: str, folder: Path) -> Any:
    """kfp's runner for a run of `config`.

    Args:
        config: the run.
        key: of the run.
        folder: of the run, for logs and progress.

    Raises:
        UserError: Docker does not answer, or an image is missing.
    """
    from docker.types import Mount
    from kfp import local
    from kfp.local import docker_task_handler

    with _docker() as client:
        names = {tag for image in client.images.list() for tag in image.tags}
    missing = [IMAGES[role] for role in ("data", "train") if IMAGES[role] not in names]
    if missing:
        raise UserError(f"the images {', '.join(missing)} are not here; build them with `make images`")
    docker_task_handler.run_docker_container = _run_container
    environment = {name: value for name, value in os.environ.items() if name.startswith(_PASSED_ON)}
    environment |= {RUN_KEY_VARIABLE: key, "EVE_PROGRESS": str(folder), "HOME": "/tmp", "USER": "eve"}
    return local.DockerRunner(
        environment=environment,
        mounts=[
            Mount(str(path), str(path), type="bind", read_only=not writes) for path, writes in mounted_folders(config)
        ],
        network_mode="host",
        user=f"{os.getuid()}:{os.getgid()}",  # who owns the workspace
        read_only=True,
        tmpfs={"/tmp": "exec,mode=1777"},
        shm_size="2g",
        labels={"eve.run": key},
    )


def mounted_folders(config: RunConfig) -> list[tuple[Path, bool]]:
    """What steps need of this machine, and whether they write there."""
    written = [config.workspace.absolute()]
    if config.registry.tracking_uri.startswith("sqlite:///"):
        written.append(Path(config.registry.tracking_uri.removeprefix("sqlite:///")).absolute().parent)
        if config.registry.artifacts is not None and "://" not in config.registry.artifacts:
            written.append(Path(config.registry.artifacts).absolute())
    read = [path.absolute() for path in named_files(config)]
    if not is_url(config.data.repository):
        written.append(Path(config.data.repository).absolute())  # DVC keeps its index and locks there
    remote = config.data.remote
    if remote is not None and remote.url is not None and "://" not in remote.url:
        read.append(Path(remote.url).absolute())
    for path in written:
        path.mkdir(parents=True, exist_ok=True)
    found: dict[Path, bool] = {}
    for path, writes in sorted([*((path, True) for path in written), *((path, False) for path in read)]):
        if not any(above in (path, *path.parents) and found[above] >= writes for above in found):
            found[path] = writes
    return [*found.items()]


@contextlib.contextmanager
def _docker() -> Iterator["DockerClient"]:
    import docker
    from docker.errors import DockerException

    try:
        client = docker.from_env()
    except DockerException as error:
        raise UserError(
            f"Docker does not answer ({str(error)[:200]}); start it, or set DOCKER_HOST, or run without --runner docker"
        ) from None
    try:
        yield client
    finally:
        client.close()


def _run_container(
    client: "DockerClient", image: str, command: list[str], volumes: dict[str, Any], **settings: Any
) -> int:
    """Run a container to its end; its exit status."""
    container = client.containers.run(image, command, detach=True, volumes=volumes, **settings)
    try:
        for line in container.logs(stream=True):
            print(line.decode(errors="replace"), end="")
        return int(container.wait()["StatusCode"])
    finally:
        container.remove(force=True)
