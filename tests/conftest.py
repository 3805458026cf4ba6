"""What every test may ask for."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def models_dir() -> Path:
    """Trained models, kept between runs and shared with `lethe serve`: training takes minutes."""
    return Path(os.environ.get("LETHE_STATE_DIR", ".lethe")).absolute() / "models"


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Real benchmark data; what needs it skips where there is none."""
    folder = Path(os.environ.get("LETHE_DATA_DIR", "../shared/data"))
    if not folder.is_dir():
        pytest.skip(f"no benchmark data at {folder}: set LETHE_DATA_DIR")
    return folder
