"""What every test may ask for."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def models_dir() -> Path:
    """Trained models, kept between runs: training takes minutes."""
    return Path(os.environ.get("LETHE_TEST_STATE", ".lethe-test")) / "models"
