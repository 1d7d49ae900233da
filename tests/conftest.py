"""What tests of several rooms share."""

import os
from pathlib import Path

import pytest

_REPOSITORY = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder with samples of the public sets; the test is skipped where there is none."""
    folder = Path(os.environ.get("EVE_REAL_DATA", _REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"the real samples are not in {folder}; set EVE_REAL_DATA to their folder")
    return folder
