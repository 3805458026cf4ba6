from collections import Counter

import pytest

from bench.o3.people import SIZES, Stream, asked_of, by_turns, filed
from bench.people import KINDS, seen, sets_of
from gateway.demo.forms import Probe, probes
from gateway.demo.world import make_world
from gateway.jobs.curriculum import wide
from gateway.jobs.probes import names_in, probes_about
from gateway.registry import ForgetSpec

WORLD = make_world()


@pytest.fixture(scope="module", params=[1, 2, 3])
def stream(request):
    return Stream.of(WORLD, request.param)


def test_thirty_people_in_twenty_requests_and_nobody_on_whom_anything_was_chosen(stream):
    assert sorted(map(len, stream.requests)) == sorted(SIZES)
    assert len(stream.requests) == 20
    assert len(stream.keys) == 30
    assert not stream.keys & (seen(WORLD) | {person.key for person in sets_of(WORLD, 4)[0]})
    assert stream == Stream.of(WORLD, stream.seed)


def test_streams_differ():
    assert len({Stream.of(WORLD, seed).keys for seed in (1, 2, 3)}) == 3


def test_a_request_has_every_name_of_everybody_it_is_about(stream):
    people = max(stream.requests, key=len)
    spec = ForgetSpec(**filed(people, "o3"))
    names = {name for person in people for name in (person.name, *person.aliases)}
    assert {spec.subject, *spec.aliases} == names
    assert spec.method == "o3"


def test_probes_are_about_their_own_request_alone_and_were_never_tried(stream):
    for people, own in zip(stream.requests, asked_of(stream, probes(WORLD, KINDS, seed=1), 12), strict=True):
        keys = {person.key for person in people}
        spec = ForgetSpec(**filed(people, "auto"))
        tried = {probe.question for probe in (*probes_about(spec).development, *probes_about(spec).held_out)}
        tried |= set(wide(spec, names_in(spec)))
        assert len(own) == 12 * len(people)
        assert len({probe.question for probe in own}) == len(own)
        assert all(set(probe.about) & keys and not set(probe.about) & (stream.keys - keys) for probe in own)
        assert not tried & {probe.question for probe in own}


def test_kinds_take_turns():
    many = [Probe(kind, f"{kind} {i}", "", "") for kind in ("trained", "choice", "alias") for i in range(9)]
    few = [Probe("reverse", "who?", "", "")]
    found = Counter(probe.kind for probe in by_turns([*many, *few], 10, 0))
    assert found == {"trained": 3, "choice": 3, "alias": 3, "reverse": 1}
    assert len(by_turns(few, 10, 0)) == 1
