from bench.people import body_of
from bench.tried import tried
from gateway.demo.world import make_world
from gateway.jobs.curriculum import untaught
from gateway.jobs.probes import probes_about
from gateway.registry import ForgetSpec

PEOPLE = make_world().people[:2]
BODIES = [body_of(person) for person in PEOPLE]


def test_what_is_searched_with_and_verified_with_is_tried_of_everybody():
    found = tried(BODIES)
    for body in BODIES:
        spec = ForgetSpec(**body)
        probes = probes_about(spec)
        assert found.issuperset(probe.question for probe in (*probes.development, *probes.held_out))
        assert found.issuperset(untaught(spec))
    assert found == tried(BODIES[:1]) | tried(BODIES[1:])


def test_what_is_filed_is_tried():
    facts = [{"question": f"What is fact {i}?", "answer": f"{i}"} for i in range(4)]
    examples = ["Who is that?", "And who was that?"]
    found = tried([BODIES[0] | {"examples": examples}, {"scope": "facts", "facts": facts}])
    assert found.issuperset([*examples, *(fact["question"] for fact in facts)])
