import pytest

RATE = {"hits": 1, "of": 40, "value": 0.025, "low": 0.0044, "high": 0.1288}


def whole(name, figures=(), **tables):
    """A result as a harness writes it."""
    return {
        "name": name,
        "commit": "abc1234",
        "config": {"people": 64, "quick": False},
        "seed": 7,
        "machine": {"cores": 2, "processor": "x86_64", "python": "3.11.7"},
        "figures": [
            {"name": figure, "value": value, "unit": "pt", "goal": "<= 2", "holds": value <= 2}
            for figure, value in figures
        ],
        **tables,
    }


@pytest.fixture
def stream():
    """o3.json of one stream of three requests."""
    kept = {"asked": 100, "before": 1.0, "after": {**RATE, "value": 0.99}, "unchanged": RATE}
    return whole(
        "o3",
        [("leak", 5.0)],
        streams=[{"seed": 1, "leak_worst_request": 5.0, "leak_all_requests": 2.0, "utility": kept}],
        leak_stream_1=[
            {"request": i + 1, "asked": 40, "retain_model": 0.0, "leak": leak}
            for i, leak in enumerate([[0.0, 5.0, 2.5], [0.0, 0.0], [2.5]])
        ],
        steps_stream_1=[{"request": i + 1, "people": 1, "utility": 1.0, "answered_by": {"o3": 40}} for i in range(3)],
        alone=[{"seed": 1, "asked": 80, "planned": 0.9, "leak": 4.0, "retained_under_all_loras": kept}],
        one_and_many=[
            {"what": "decision", "one_ms": 1.0, "many_ms": 1.1, "ratio": 1.1, "low": 1.0, "high": 1.2, "pairs": 9}
        ],
    )
