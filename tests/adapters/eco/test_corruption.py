import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.eco.corruption import CORRUPTIONS, Corruption

WIDTH = 12
KEY, OTHER = bytes(range(16)), bytes(range(1, 17))
TABLE = np.random.default_rng(0).standard_normal((50, WIDTH)).astype(np.float32)
STANDINS = np.random.default_rng(1).standard_normal((5, WIDTH)).astype(np.float32)

RANDOM = {name for name in CORRUPTIONS if "noise" in name or name == "blend"}
LOCAL = {name for name in CORRUPTIONS if name.endswith(("_first_n", "_top_k", "_least_k", "_rand_n"))}
ORDERED = {"shuffle", "reverse_order"}
TOKENS = st.lists(st.integers(0, 49), min_size=1, max_size=8)


def corrupted(corruption, tokens):
    return corruption.apply(TABLE[tokens].copy(), tokens, STANDINS, radius=2.0)


@settings(max_examples=30)
@given(st.sampled_from(sorted(CORRUPTIONS)), TOKENS, st.floats(0, 1e6), st.floats(0, 1))
def test_shape_dtype_finite_and_deterministic(name, tokens, strength, share):
    corruption = Corruption(name, strength, KEY, share)
    once = corrupted(corruption, tokens)
    assert once.shape == (len(tokens), WIDTH)
    assert once.dtype == np.float32
    assert np.isfinite(once).all()
    again = corrupted(Corruption.from_manifest(corruption.manifest()), tokens)
    assert np.array_equal(once, again)


@pytest.mark.parametrize("name", sorted(LOCAL))
@pytest.mark.parametrize("share", [0.25, 0.5])
def test_only_k_dimensions_change(name, share):
    tokens = [3, 1, 4]
    changed = corrupted(Corruption(name, 2.5, KEY, share), tokens) != TABLE[tokens]
    assert (changed.sum(axis=1) == round(share * WIDTH)).all()
    if name.endswith("_first_n"):
        assert not changed[:, round(share * WIDTH) :].any()


@pytest.mark.parametrize("name", sorted(LOCAL | {"fixed_noise", "blend"}))
def test_every_token_changes(name):
    tokens = [3, 1, 4, 1]
    assert (corrupted(Corruption(name, 1.0, KEY), tokens) != TABLE[tokens]).any(axis=1).all()


@pytest.mark.parametrize("name", sorted(RANDOM - {"rand_noise_rand_n"}))
def test_a_token_meets_the_same_noise_wherever_it_stands(name):
    corruption = Corruption(name, 1.5, KEY)
    alone = corrupted(corruption, [7])[0]
    among = corrupted(corruption, [2, 7, 9, 7])
    assert np.array_equal(among[1], alone)
    assert np.array_equal(among[3], alone)


@pytest.mark.parametrize("name", sorted(RANDOM))
def test_another_key_is_another_noise(name):
    tokens = list(range(8))
    assert not np.array_equal(
        corrupted(Corruption(name, 1.0, KEY), tokens), corrupted(Corruption(name, 1.0, OTHER), tokens)
    )


@pytest.mark.parametrize("name", sorted(ORDERED))
def test_an_order_is_a_permutation(name):
    tokens = [5, 6, 7, 8, 9, 10]
    after = corrupted(Corruption(name, 1.0, KEY), tokens)
    assert sorted(map(tuple, after)) == sorted(map(tuple, TABLE[tokens]))
    assert not np.array_equal(after, TABLE[tokens])


@given(TOKENS, st.floats(0.01, 50))
def test_fixed_noise_has_its_length_in_units_of_the_radius(tokens, strength):
    moved = corrupted(Corruption("fixed_noise", strength, KEY), tokens) - TABLE[tokens]
    assert np.linalg.norm(moved, axis=1) == pytest.approx(strength * 2.0, rel=1e-3)


@given(TOKENS)
def test_blend_goes_from_the_token_to_a_stand_in(tokens):
    assert np.array_equal(corrupted(Corruption("blend", 0.0, KEY), tokens), TABLE[tokens])
    for row in corrupted(Corruption("blend", 1.0, KEY), tokens):
        assert (np.isclose(row, STANDINS, atol=1e-6).all(axis=1)).any()


def test_the_papers_formulas():
    e = np.array([[3.0, -5.0, 1.0, 0.5]], np.float32)

    def applied(name, share, strength=2.0):
        return Corruption(name, strength, KEY, share).apply(e, [0], STANDINS[:, :4], 1.0)[0].tolist()

    assert applied("zero_out_first_n", 0.5) == [0, 0, 1, 0.5]
    assert applied("zero_out_top_k", 0.5) == [0, 0, 1, 0.5]
    assert applied("flip_sign_first_n", 0.25) == [-3, -5, 1, 0.5]
    assert applied("flip_sign_top_k", 0.25) == [3, 5, 1, 0.5]
    assert applied("sub_value_first_n", 0.5) == [1, -7, 1, 0.5]
    assert applied("sub_value_top_k", 0.25) == [1, -5, 1, 0.5]
    assert applied("add_value_first_n", 0.5) == [5, -3, 1, 0.5]
    assert applied("add_value_least_k", 0.25) == [3, -3, 1, 0.5]


def test_nothing_selected_is_nothing_changed():
    assert Corruption("blend", 1.0, KEY).apply(TABLE[:0], [], STANDINS, 1.0).shape == (0, WIDTH)


def test_the_callers_embeddings_are_left_alone():
    for name in CORRUPTIONS:
        given_ = TABLE[[1, 2]].copy()
        Corruption(name, 3.0, KEY).apply(given_, [1, 2], STANDINS, 1.0)
        assert np.array_equal(given_, TABLE[[1, 2]]), name


def test_bad_manifests_and_names():
    with pytest.raises(ValueError, match="erase"):
        Corruption("erase", 1.0, KEY)
    with pytest.raises(KeyError):
        Corruption.from_manifest({})
    with pytest.raises(ValueError):
        Corruption.from_manifest({**Corruption("blend", 1.0, KEY).manifest(), "key": "no hex"})


def test_the_key_is_not_shown():
    assert KEY.hex() not in repr(Corruption("blend", 1.0, KEY))
    assert str(KEY) not in repr(Corruption("blend", 1.0, KEY))
