from dataclasses import replace

from adapters.base import Capability
from gateway.engines import bodies
from gateway.engines.found import Found, of_all

ABLE = frozenset({Capability.TEXT, Capability.SCORE, Capability.LORA})
ONE = Found(4096, ABLE, bodies.OPTIONS, parts=True, whole=True, alternatives=28, drawn=True, lag=0.25)


def test_of_one_it_is_what_that_can_do():
    assert of_all([ONE]) == ONE


def test_of_several_it_is_what_each_can_do():
    other = replace(ONE, context=512, capabilities=ABLE - {Capability.LORA}, alternatives=20, parts=False, lag=0.75)
    both = of_all([ONE, other])
    assert (both.context, both.alternatives, both.parts, both.whole, both.lag) == (512, 20, False, True, 0.5)
    assert both.capabilities == {Capability.TEXT, Capability.SCORE}
    tools = replace(ONE, options=bodies.OPTIONS - bodies.TOOLS, whole=False)
    assert of_all([ONE, tools]) == tools


def test_of_none_nothing_is_sure_but_text():
    assert of_all([]).capabilities == {Capability.TEXT}
    assert of_all([]).options == bodies.OPTIONS


def test_log_probabilities_of_two_kinds_are_none():
    assert Capability.SCORE not in of_all([ONE, replace(ONE, drawn=False)]).capabilities
