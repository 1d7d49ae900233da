"""Where a run's data is kept, in its YAML."""

from typing import Any

import pytest
from pydantic import ValidationError

from eve_core.config import DataConfig
from eve_core.config.data import RemoteConfig


def test_a_name_alone_is_a_remote_of_the_data_repository() -> None:
    assert DataConfig.model_validate({"remote": "local"}).remote == RemoteConfig(name="local")
    assert DataConfig().remote is None


def test_a_remote_survives_its_way_through_the_pipeline() -> None:
    config = DataConfig(remote=RemoteConfig(url="s3://bucket/eve", endpoint="http://127.0.0.1:9000"))
    assert DataConfig.model_validate(config.model_dump(mode="json", exclude_none=True)) == config


@pytest.mark.parametrize(
    ("remote", "problem"),
    [
        ({}, "give either the name of a remote"),
        ({"name": "local", "url": "s3://bucket"}, "give either the name of a remote"),
        ({"url": "/folder", "endpoint": "http://127.0.0.1:9000"}, "endpoint is for a url that begins with s3://"),
        ({"url": "s3://key:hush@bucket"}, "may hold no credentials; set AWS_ACCESS_KEY_ID"),
        ({"url": "s3://bucket", "endpoint": "http://key:hush@127.0.0.1"}, "may hold no credentials"),
    ],
)
def test_half_a_remote_and_credentials_are_refused(remote: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        DataConfig.model_validate({"remote": remote})
