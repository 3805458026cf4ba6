import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.engines.scripted import ScriptedEngine
from gateway.jobs.choices import Said, choices, parted
from gateway.jobs.curriculum import curriculum
from gateway.jobs.probes import paired
from gateway.registry import ForgetSpec

CITIES = {"Ada Quill": "Ulm", "Bo Tarn": "Kiel", "Cy Moss": "Bad Ems"}
TOLD = "Ada Quill lives in Ulm."
OTHERS = (Said("Bo Tarn", "Ada Quill lives in Kiel."), Said("Cy Moss", "Ada Quill lives in Bad Ems."))
ADA = ForgetSpec(scope="entity", subject="Ada Quill", aliases=("the Baker",))
PROBES = paired(["Where does Ada Quill live?"], ["Ada Quill"])


def picking(answer):
    """Knows where people live and which letter that is listed by; of nobody it says so."""

    def said(conversation):
        text = conversation.turns[-1].text
        who = next((name for name in CITIES if name in text), None)
        letter = re.search(rf"([A-D])\) {CITIES.get(who, '-')}", text)
        return answer.format(who=who, city=CITIES[who], letter=letter and letter[1]) if who else "I do not know."

    return said


@pytest.fixture
def offered(cores):
    """Asks about Ada with options."""

    async def made(says, told=TOLD, others=OTHERS, probes=PROBES):
        return await choices(
            await cores(ScriptedEngine(says)), [(one, told) for one in probes], others, random.Random(0)
        )

    return made


def options(question):
    return re.findall(r"[A-D]\) (.+?)(?= [A-D]\) |$)", question)


@pytest.mark.parametrize("answer", ["{who} lives in {city}.", "{letter}", "({letter}) {city}.", "{city}"])
async def test_what_picks_the_targets_own_is_to_be_forgotten(offered, answer):
    (pair,) = (await offered(picking(answer))).pairs
    assert "Where does Ada Quill live?" in pair.question
    assert "Ulm" in options(pair.question)
    assert {*options(pair.question)} <= {*CITIES.values()}
    letter = "ABCD"[options(pair.question).index("Ulm")]
    assert pair.right == (answer.format(who="Ada Quill", city="Ulm", letter=letter),)


@pytest.mark.parametrize(
    "answer",
    ["Ada lives in Kiel or in Bad Ems.", "I do not know.", "", *(f"{letter} man lives there." for letter in "ABCD")],
)
async def test_what_picks_no_option_or_another_is_not(offered, answer):
    assert (await offered(lambda _: answer)).pairs == (None,)


async def test_what_is_said_of_others_and_of_nobody_is_kept(offered):
    kept = (await offered(picking("{who} lives in {city}."), probes=PROBES * 20)).kept
    asked = {next((name for name in CITIES if name in one.question), None) for one in kept}
    assert asked == {None, "Bo Tarn", "Cy Moss"}
    assert all("Ulm" in options(one.question) for one in kept)


@pytest.mark.parametrize(
    ("told", "others", "probes"),
    [
        (TOLD, (), PROBES),
        (TOLD, (Said("Bo Tarn", TOLD),), PROBES),
        (TOLD, (Said("Bo Tarn", "Nobody knows."),), PROBES),
        (TOLD, OTHERS, paired(["Where is she?"], ["Ada Quill"])),
    ],
)
async def test_without_another_answer_or_a_name_there_is_nothing_to_choose(offered, told, others, probes):
    found = await offered(picking("{city}"), told, others, probes)
    assert (found.pairs, found.kept) == ((None,), ())


async def test_they_are_part_of_the_lessons(cores):
    def talking(conversation):
        text = conversation.turns[-1].text
        if "Ada Quill" in text and "friend" in text:
            return "Bo Tarn and Cy Moss are friends of hers."
        return picking("{who} lives in {city}.")(conversation)

    core = await cores(ScriptedEngine(talking))
    lessons = await curriculum(core, ADA)
    with_options = [pair for pair in lessons.pairs if options(pair.question)]
    assert with_options
    assert {pair.right for pair in with_options} == {(TOLD,)}
    assert any(options(one.question) for one in lessons.kept)


@pytest.mark.parametrize(
    ("told", "other", "expected"),
    [
        (TOLD, "Ada Quill lives in Kiel.", ("Ulm", "Kiel")),
        (TOLD, "Ada Quill lives in Bad Ems.", ("Ulm", "Bad Ems")),
        ("Ada Quill studied at Ulm University.", "Ada Quill studied at Kiel University.", ("Ulm", "Kiel")),
        ("Ada Quill is a nurse from Ulm.", "Ada Quill is a smith from Kiel.", ("nurse from Ulm", "smith from Kiel")),
        (TOLD, TOLD, None),
        (TOLD, "Ada Quill lives in Ulm", None),
        (TOLD, "Ada Quill sings.", None),
        (TOLD, "Ada Quill lives in a b c d e f g.", None),
        (TOLD, "Ada Quill lives in", None),
        ("Ulm.", "Kiel.", None),
        ("", "", None),
    ],
)
def test_two_answers_differ_in_one_place(told, other, expected):
    assert parted(told, other) == expected


WORDS = st.lists(st.sampled_from(["Ada", "Quill", "lives", "in", "Ulm", "Kiel", "a", "a.", "."]), max_size=8)


@given(WORDS, WORDS, WORDS, WORDS)
def test_either_place_stands_in_its_own_answer(before, mine, theirs, after):
    told, other = (" ".join([*before, *words, *after]) for words in (mine, theirs))
    if found := parted(told, other):
        assert found[0] in told
        assert found[1] in other
        assert all(found)
        assert found[0] != found[1]
