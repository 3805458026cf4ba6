import pytest

from gateway.policy import Policies, Policy
from guards.base import Runner
from guards.lexicon import LexiconIndex
from guards.output import OutputGuard


def policy(revision):
    return Policy(revision, Runner((), 1.0), OutputGuard(LexiconIndex().view(frozenset())))


def test_a_newer_policy_replaces_the_current_one_and_an_older_never_does():
    first, second, third = policy(1), policy(2), policy(2)
    policies = Policies(first)
    policies.swap(second)
    assert policies.current is second
    policies.swap(first)
    assert policies.current is second
    policies.swap(third)  # the same revision, read again
    assert policies.current is third


def test_a_policy_is_frozen():
    with pytest.raises(AttributeError):
        policy(1).revision = 2
