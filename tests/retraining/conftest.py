"""A Prefect server of its own."""

import pytest

from infra.local.servers import prefect_server


@pytest.fixture(scope="session")
def prefect_api(tmp_path_factory):
    """The address of a running server, and the settings that make this process use it."""
    folder = tmp_path_factory.mktemp("prefect")
    with prefect_server(folder) as server:
        yield server


@pytest.fixture
def prefect(prefect_api, tmp_path_factory):
    """This process uses the server."""
    from prefect.settings import PREFECT_API_URL, PREFECT_HOME, temporary_settings

    home = tmp_path_factory.mktemp("prefect-home")
    with temporary_settings({PREFECT_API_URL: f"{prefect_api.uri}/api", PREFECT_HOME: home}):
        yield prefect_api
