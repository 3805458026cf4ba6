import math

import pytest

from bench.tofu.exposure import Exposed, attacks_of
from bench.tofu.subjects import Token

NAMES = ("loss", "zlib", "min_k", "min_k++")
AUTHORS = tuple(f"{i // 4}" for i in range(40))


def exposed(level, **more):
    """Members score about `level`, strangers about 1; of either no two alike."""
    members, others = ([start + i / 100 for i in range(40)] for start in (level, 1.0))
    return Exposed(AUTHORS, dict.fromkeys(NAMES, members) | more, AUTHORS, dict.fromkeys(NAMES, others))


def test_an_engine_that_knows_no_vocabulary_has_no_min_k_plus_plus():
    known = [Token(-1.0, False, -2.0, 4.0)] * 4
    blind = [Token(-1.0, False, None, None)] * 4
    assert attacks_of(known, "a b c")["min_k++"] == pytest.approx(-0.5)
    assert math.isnan(attacks_of(blind, "a b c")["min_k++"])
    assert attacks_of(blind, "a b c")["loss"] == 1.0


def test_an_attack_that_has_no_score_for_one_text_has_no_auc():
    blind = exposed(0.5, **{"min_k++": [math.nan] * 40})
    assert set(blind.aucs(exposed(1.0))) == {"loss", "zlib", "min_k", "reference"}


def test_the_retain_model_is_the_reference():
    full, retain = exposed(0.9), exposed(1.0)
    assert full.aucs(retain)["loss"] < 0.8  # alone it says little
    assert full.aucs(retain)["reference"] == 1.0
    assert retain.aucs(retain)["reference"] == 0.5


def test_intervals_hold_what_was_measured_and_the_retain_model_leaks_nothing_for_sure():
    full, retain = exposed(0.7), exposed(1.0)
    found = full.intervals(retain)
    assert set(found) == {*(f"AUC {name}" for name in (*NAMES, "reference")), "PrivLeak"}
    for name, one in found.items():
        assert one.low <= one.mean <= one.high, name
    assert found["AUC loss"].mean == full.aucs(retain)["loss"]
    assert found["PrivLeak"].mean == pytest.approx(full.leak(retain))
    nothing = retain.intervals(retain)["PrivLeak"]
    assert (nothing.low, nothing.mean, nothing.high) == (0, 0, 0)
