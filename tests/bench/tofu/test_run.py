import pytest

from bench.tofu.measuring import Effort, Forgotten, Known, Utility
from bench.tofu.rows import Row
from bench.tofu.run import Size, figures, given
from gateway.settings import SettingsError

SIZE = Size(("forget01",), (0, 1), ("ignorance", "uld"), effort=Effort(drawn=1, draws=2, paced=1))


def row(model, seed, *, level, ability=0.8):
    """A subject that gets `level` of everything that was to be forgotten."""
    many = tuple(level + i / 1000 for i in range(20))
    known = Known((ability,), (ability,), (1 - ability,))
    some = (level,) * 20
    forgotten = Forgotten(
        ("a",) * 20, some, many, some, some, some, some, (some[:2],), (some[:2],), some, (0.0,) * 20, (0.0,) * 20, {}
    )
    return Row(model, "forget01", seed, Utility(known, known, known), forgotten, {}, 1.0, 1.0)


def found(**of_uld):
    rows = [
        row(model, seed, level=0.3 if model != "full" else 0.9)
        for model in ("full", "retain", "ignorance")
        for seed in (0, 1)
    ]
    rows += [row("uld", 0, level=0.3), row("uld", 1, **{"level": 0.3, **of_uld})]
    made = figures({(one.model, one.split, one.seed): one for one in rows}, SIZE)
    return {one.name.removeprefix("uld: "): one for one in made}


def test_who_is_like_the_retain_model_holds_every_figure():
    assert all(one.holds for one in found().values())
    assert len(found()) == 9  # ignorance is no method to be judged


@pytest.mark.parametrize(
    ("level", "missed"),
    [(0.9, {"away", "above"}), (0.1, {"away"})],
)
def test_the_worst_seed_counts_and_silence_is_told_from_leaking(level, missed):
    made = found(level=level)
    assert not made["forget quality on the gated path, worst"].holds
    for name in ("leak@2", "leak@2, paraphrased,", "answer-prefix continuation"):
        for side in ("away", "above"):
            held = made[
                f"{name} {side} {'from' if side == 'away' else ''} the retain model's, worst".replace("  ", " ")
            ].holds
            assert held is (side not in missed), (name, side)


def test_utility_is_a_share_of_that_of_the_model_that_knows():
    made = found(ability=0.76)
    assert made["model utility as a share of full's, worst"].value == pytest.approx(0.95)
    assert not made["model utility as a share of full's, worst"].holds


def test_given_models_are_named_for_their_splits(tmp_path):
    models = given(tmp_path, [f"forget10={tmp_path}"])
    assert models.retain == {"forget10": tmp_path}
    for model, retain in ((tmp_path, []), (None, [f"forget10={tmp_path}"]), (tmp_path, [f"forget99={tmp_path}"])):
        with pytest.raises(SettingsError):
            given(model, retain)
    with pytest.raises(SettingsError, match="there is no folder"):
        given(tmp_path / "none", [f"forget10={tmp_path}"])
