"""What earlier LoRAs read: nothing of it is left after projection, and the room of every module is accounted for."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from adapters.o3.subspace import Subspace

INPUTS, WIDE = 24, 40  # of two modules
NEAR = 1e-5

seeds = st.integers(0, 2**32 - 1)
counts = st.integers(1, 3)
ranks = st.integers(1, 4)


def drawn(seed, inputs=INPUTS, rank=2, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(rank, inputs, generator=generator)


def downs_of(seed, rank=2, scale=1.0):
    """A LoRA's A of two modules."""
    return {"q": drawn(seed, INPUTS, rank, scale), "down": drawn(seed + 1, WIDE, rank, scale)}


def cosines(one, other):
    """Of all rows of one with all of the other."""
    unit = [down / down.norm(dim=1, keepdim=True) for down in (one, other)]
    return (unit[0] @ unit[1].T).abs().max()


@given(seeds, counts, ranks, st.sampled_from([1e-3, 1.0, 1e3]))
def test_what_is_projected_is_clear_of_all_earlier_ones_and_stays(seed, count, rank, scale):
    earlier = [downs_of(seed + 2 * i, rank, scale) for i in range(count)]
    subspace = Subspace.of(earlier)
    new = downs_of(seed + 99, rank)
    clear = {name: subspace.project(name, down) for name, down in new.items()}
    for name, down in clear.items():
        assert down.shape == new[name].shape
        assert all(cosines(down, one[name]) < NEAR for one in earlier[: subspace.held])
        torch.testing.assert_close(subspace.project(name, down), down, atol=NEAR, rtol=0)
        kept, taken = down, new[name] - down  # Pythagoras: only what earlier ones read was taken
        assert (kept * taken).sum().abs() < NEAR * new[name].square().sum()
    assert subspace.overlap(clear) < NEAR


@given(seeds, counts, ranks)
def test_the_overlap_is_a_share(seed, count, rank):
    earlier = [downs_of(seed + 2 * i, rank) for i in range(count)]
    subspace = Subspace.of(earlier, free=0.0)
    mixed = {name: sum((i + 1) * one[name] for i, one in enumerate(earlier)) for name in earlier[0]}
    assert subspace.overlap(mixed) == pytest.approx(1, abs=NEAR)
    new = downs_of(seed + 99, rank)
    share = subspace.overlap(new)
    assert 0 <= share <= 1 + NEAR
    assert subspace.overlap({name: 7 * down for name, down in new.items()}) == pytest.approx(share, rel=1e-3)


def test_the_overlap_is_that_of_the_worst_module():
    subspace = Subspace({"q": torch.eye(4)[:, :2], "down": torch.eye(4)[:, :2]})
    half, none = torch.tensor([[0.0, 1.0, 0.0, 1.0]]), torch.tensor([[0.0, 0.0, 3.0, 4.0]])
    assert subspace.overlap({"q": half, "down": none}) == pytest.approx(0.5)
    assert subspace.overlap({"q": none, "down": none}) == 0
    assert subspace.overlap({"elsewhere": half}) == 0
    assert subspace.overlap({"q": torch.zeros(1, 4)}) == 0


@given(seeds, st.permutations(range(4)))
def test_what_is_spanned_does_not_depend_on_the_order(seed, order):
    earlier = [downs_of(seed + 2 * i) for i in range(4)]
    here, there = Subspace.of(earlier), Subspace.of([earlier[i] for i in order])
    for name, basis in here.bases.items():
        other = there.bases[name]
        torch.testing.assert_close(basis.T @ basis, torch.eye(basis.shape[1]), atol=NEAR, rtol=0)
        torch.testing.assert_close(basis @ basis.T, other @ other.T, atol=NEAR, rtol=0)


def test_one_that_is_there_twice_takes_no_more_of_what_can_be_read():
    one = downs_of(0)
    again = {name: 3 * down.flip(0) for name, down in one.items()}
    assert {name: basis.shape[1] for name, basis in Subspace.of([one, again]).bases.items()} == {"q": 2, "down": 2}


@pytest.mark.parametrize(("free", "held"), [(0.0, 6), (0.5, 3), (0.75, 1), (0.9, 0)])
def test_the_nearest_are_held_until_the_free_share_of_a_module_is_reached(free, held):
    """Rank 4 in 24 inputs: the narrowest module decides for all."""
    earlier = [downs_of(2 * i, rank=4) for i in range(7)]
    subspace = Subspace.of(earlier, free)
    assert subspace.held == held
    new = downs_of(99, rank=4)
    for i, one in enumerate(earlier):
        spanned = [subspace.overlap({name: down}) for name, down in one.items()]
        assert (min(spanned) > 1 - NEAR) == (i < held)
    for name, down in new.items():
        basis = subspace.bases.get(name, down[:0].T)
        assert basis.shape[1] == 4 * held <= (1 - free) * down.shape[1]


def test_none_after_the_first_that_has_no_room_is_held():
    small, large = downs_of(0, rank=2), downs_of(2, rank=11)
    assert Subspace.of([small, large, small]).held == 1
    assert Subspace.of([large, small]).held == 1


def test_the_room_of_every_module():
    earlier = [downs_of(0, rank=4), downs_of(2, rank=2)]
    new = {**downs_of(4, rank=3), "up": drawn(6, 10, 3)}
    assert Subspace.of(earlier).capacity(new) == {
        "q": {"inputs": INPUTS, "used": 9},
        "down": {"inputs": WIDE, "used": 9},
        "up": {"inputs": 10, "used": 3},
    }


def test_modules_that_nobody_adapted_are_free():
    down = drawn(0)
    assert Subspace.of([]).project("q", down) is down
    assert Subspace.of([{"k": drawn(1)}]).project("q", down) is down
    assert Subspace.of([]).capacity({"q": down}) == {"q": {"inputs": INPUTS, "used": 2}}


def test_a_lora_that_reads_nothing_takes_no_room():
    still = {"q": torch.zeros(4, INPUTS)}
    subspace = Subspace.of([still])
    assert subspace.bases["q"].shape == (INPUTS, 0)
    assert torch.equal(subspace.project("q", drawn(0)), drawn(0))


def test_it_shows_no_directions():
    assert "tensor" not in repr(Subspace.of([downs_of(0)]))
