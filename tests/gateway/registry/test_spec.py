from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from gateway.registry import Fact, ForgetSpec
from gateway.registry.spec import DOCUMENT_BYTES

FACT = {"question": "Where?", "answer": "There."}
GOOD = {
    "entity": {"subject": "Ada Quill", "aliases": ["Ada Quill"]},
    "facts": {"facts": [FACT]},
    "documents": {"documents": ["A page."]},
    "topic": {"examples": ["one", "two", "three"]},
}


def refused(**body):
    """The fields and messages with which a body is refused."""
    with pytest.raises(ValidationError) as caught:
        ForgetSpec(**body)
    return [(item["loc"], item["msg"]) for item in caught.value.errors()]


@pytest.mark.parametrize("scope", GOOD)
def test_each_scope_is_content_with_what_it_needs(scope):
    assert ForgetSpec(scope=scope, **GOOD[scope]).scope == scope


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"scope": "entity", "aliases": ["Ada Quill"]}, "subject"),
        ({"scope": "entity", "subject": "Ada Quill"}, "aliases"),
        ({"scope": "facts", "subject": "Ada Quill"}, "facts"),
        ({"scope": "documents"}, "documents"),
        ({"scope": "topic", "examples": ["one", "two", "two"]}, "examples"),
        ({"scope": "entity", "subject": " \t", "aliases": ["Ada Quill"]}, "subject"),
        ({"scope": "planet"}, "scope"),
        ({}, "scope"),
        ({"scope": "entity", **GOOD["entity"], "method": "prayer"}, "method"),
        ({"scope": "entity", **GOOD["entity"], "colour": "red"}, "colour"),
        ({"scope": "entity", **GOOD["entity"], "expires_at": "2001-01-01T00:00:00Z"}, "expires_at"),
        ({"scope": "entity", **GOOD["entity"], "expires_at": "2999-01-01T00:00:00"}, "expires_at"),
        ({"scope": "entity", **GOOD["entity"], "subject": "\ud800"}, "subject"),
    ],
)
def test_what_lacks_or_makes_no_sense_is_named(body, field):
    ((loc, _message),) = refused(**body)
    assert loc == (field,)


def test_an_item_is_named_by_its_place():
    assert refused(scope="entity", subject="Ada", aliases=["Ada Quill", "Q"])[0][0] == ("aliases", 1)
    assert refused(scope="facts", facts=[FACT, {"question": "Who?"}])[0][0] == ("facts", 1, "answer")
    assert refused(scope="topic", examples=["one", "", "three"])[0][0] == ("examples", 1)


@pytest.mark.parametrize(
    ("field", "value", "limit"),
    [
        ("subject", "a" * 201, "200"),
        ("aliases", [f"Alias {i}" for i in range(65)], "64"),
        ("examples", ["what"] * 1001, "1000"),
        ("retain", ["w" * 2001], "2000"),
        ("documents", ["é" * 400_000, "è" * 400_000], str(DOCUMENT_BYTES)),
    ],
)
def test_limits_are_in_the_error(field, value, limit):
    ((loc, message),) = refused(**{"scope": "entity", **GOOD["entity"], field: value})
    assert loc[0] == field
    assert limit in message


def test_duplicates_go_and_order_stays():
    spec = ForgetSpec(
        scope="entity", subject="Ada", aliases=["Ada Quill", " A. Quill ", "Ada Quill"], facts=[FACT, FACT]
    )
    assert spec.aliases == ("Ada Quill", "A. Quill")
    assert spec.facts == (Fact(**FACT),)


@pytest.mark.parametrize("say", [repr, str])
def test_neither_a_spec_nor_its_error_tells_what_it_holds(say):
    body = {
        "scope": "entity",
        "subject": "Secretname",
        "aliases": ["Secretalias"],
        "facts": [FACT],
        "reference": "Sec-1",
    }
    shown = say(ForgetSpec(**body))
    with pytest.raises(ValidationError) as caught:
        ForgetSpec(**body, method="Secretmethod")
    assert "Sec" not in shown + say(caught.value)
    assert "There" not in shown


def test_the_same_entity_is_known_by_name_and_other_things_by_content():
    def same(one, other):
        return ForgetSpec(**one).identity() == ForgetSpec(**other).identity()

    ada = {"scope": "entity", **GOOD["entity"]}
    facts = {"scope": "facts", "facts": [FACT]}
    assert same(ada, {**ada, "subject": "  ADA  quill", "aliases": ["Someone Else"]})
    assert not same(ada, {**ada, "subject": "Ada Quilt"})
    assert same(facts, {**facts, "method": "eco"})
    assert not same(facts, {**facts, "facts": [FACT, {"question": "Who?", "answer": "Me."}]})


lines = st.lists(st.text(st.characters(codec="utf-8"), min_size=1, max_size=30).filter(str.strip), max_size=4)


@given(
    examples=lines,
    retain=lines,
    facts=st.lists(st.fixed_dictionaries({"question": st.just("Q?"), "answer": st.just("A.")}), max_size=2),
    expires=st.none() | st.datetimes(datetime(2900, 1, 1), datetime(2999, 1, 1), timezones=st.just(UTC)),
)
def test_what_is_stored_comes_back(examples, retain, facts, expires):
    spec = ForgetSpec(
        scope="entity",
        subject="Ada Quill",
        aliases=["Ada Quill"],
        examples=examples,
        retain=retain,
        facts=facts,
        expires_at=expires,
    )
    back = ForgetSpec.restored(spec.stored())
    assert back == spec
    assert hash(back) == hash(spec)


def test_a_spec_outlives_its_own_expiry():
    stored = ForgetSpec(scope="topic", **GOOD["topic"], expires_at=datetime.now(UTC) + timedelta(days=9)).stored()
    past = stored.replace(stored.split(b'"expires_at":"')[1][:4], b"2001")
    assert ForgetSpec.restored(past).expires_at.year == 2001
