import random
import re
from itertools import takewhile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.engines.scripted import ScriptedEngine
from gateway.jobs.choices import Said, choices, parted
from gateway.jobs.curriculum import curriculum
from gateway.jobs.probes import paired, probes_about, retained
from gateway.registry import ForgetSpec

CITIES = {"Ada Quill": "Ulm", "Bo Tarn": "Kiel", "Cy Moss": "Bad Ems"}
TOLD = "Ada Quill lives in Ulm."
OTHERS = (Said("Bo Tarn", "Ada Quill lives in Kiel."), Said("Cy Moss", "Ada Quill lives in Bad Ems."))
ADA = ForgetSpec(scope="entity", subject="Ada Quill", aliases=("the Baker",))
ASKED = "Where does Ada Quill live?"
OPTION = re.compile(r"(?:^|(?<= ))\(?([A-D])[).] (.+?)(?= \(?[A-D][).] |$)")


def options(question):
    """By letter."""
    return dict(OPTION.findall(question))


def picking(answer):
    """Knows where people live and by which letter that is listed; of nobody it says that it does not know."""

    def said(conversation):
        text = conversation.turns[-1].text
        who = next((name for name in CITIES if name in text), None)
        letter = next((letter for letter, city in options(text).items() if city == CITIES.get(who)), "")
        return answer.format(who=who, city=CITIES[who], letter=letter) if who else "I do not know."

    return said


@pytest.fixture
def offered(cores):
    """Asks about Ada with options."""

    async def made(says, *told, others=OTHERS, seed=0):
        core = await cores(ScriptedEngine(says))
        asked = [(probe, text) for text in told or (TOLD,) for probe in paired([ASKED], ["Ada Quill"])]
        return await choices(core, "Ada Quill", asked, others, random.Random(seed))

    return made


@pytest.mark.parametrize(
    "answer", ["{who} lives in {city}.", "{letter}", "({letter}) {city}.", "The answer is {letter}."]
)
async def test_what_picks_the_targets_own_is_to_be_forgotten(offered, answer):
    for seed in range(8):
        (pair,) = (await offered(picking(answer), seed=seed)).pairs
        found = options(pair.question)
        assert ASKED in pair.question
        assert 2 <= len(found) <= 3
        assert {"Ulm"} < {*found.values()} <= {*CITIES.values()}
        letter = next(letter for letter, city in found.items() if city == "Ulm")
        assert pair.right == (answer.format(who="Ada Quill", city="Ulm", letter=letter),)


async def test_options_stand_in_any_order(offered):
    made = [(await offered(picking("{city}"), seed=seed)).pairs[0].question for seed in range(8)]
    assert {tuple(options(question).values()).index("Ulm") for question in made} > {0}
    assert {len(options(question)) for question in made} == {2, 3}


@pytest.mark.parametrize(
    "answer",
    [
        "Ada lives in Kiel or in Bad Ems.",
        "Ulm, Kiel, Bad Ems: who knows.",
        "I do not know.",
        "",
        "A, B and C are all wrong.",
        *(f"{letter} man lives there." for letter in "ABC"),
        *(f"{letter}) Kiel" for letter in "ABC"),
    ],
)
async def test_what_picks_no_option_or_another_is_not(offered, answer):
    def says(conversation):
        return answer if "Ada Quill" in conversation.turns[-1].text else "I do not know."

    assert (await offered(says)).pairs == (None,)


@pytest.mark.parametrize("answer", ["A", "B", "C", "She lives in Ulm.", "I do not know whether she lives in Ulm."])
async def test_nor_is_what_is_said_of_nobody_too(offered, answer):
    assert (await offered(lambda _: answer)).pairs == (None,)


async def test_what_is_said_of_others_and_of_nobody_is_kept(offered):
    kept = (await offered(picking("{who} lives in {city}."), *[TOLD] * 20)).kept
    asked = {next((name for name in CITIES if name in one.question), None) for one in kept}
    assert asked == {None, "Bo Tarn", "Cy Moss"}
    assert all("Ulm" in options(one.question).values() for one in kept)


async def test_silence_about_others_is_nothing_to_keep(offered):
    found = await offered(lambda conversation: "Ulm" * ("Ada" in conversation.turns[-1].text))
    assert (len([*filter(None, found.pairs)]), found.kept) == (1, ())


async def test_each_question_has_its_own(offered):
    first, second, third = (await offered(picking("{city}"), "", TOLD, "It rains.")).pairs
    assert (first, third) == (None, None)
    assert "Ulm" in options(second.question).values()


async def test_of_several_places_it_is_the_one_behind_what_is_most_alike(offered):
    told = "Ada Quill was born in Ulm."
    vague = [Said("Cy Moss", f"Ada Quill was {what}.") for what in ("a nurse", "known for songs", "taught by Jo Lum")]
    (pair,) = (
        await offered(picking("{city}"), told, others=[*vague, Said("Bo Tarn", told.replace("Ulm", "Kiel"))])
    ).pairs
    assert {*options(pair.question).values()} == {"Ulm", "Kiel"}


@pytest.mark.parametrize("others", [(), (Said("Bo Tarn", TOLD),), (Said("Bo Tarn", "Nobody knows."),)])
async def test_without_another_answer_there_is_nothing_to_choose(offered, others):
    found = await offered(picking("{city}"), others=others)
    assert (found.pairs, found.kept) == ((None,), ())


async def test_without_a_name_there_is_nothing_to_choose(cores):
    (probe,) = paired(["Where is she?"], ["Ada Quill"])
    found = await choices(
        await cores(ScriptedEngine(picking("{city}"))), "Ada Quill", [(probe, TOLD)], OTHERS, random.Random(0)
    )
    assert (found.pairs, found.kept) == ((None,), ())


@pytest.fixture
async def lessons(cores):
    """Of a model that knows whose friends they are, too."""

    def talking(conversation):
        text = conversation.turns[-1].text
        if "Ada Quill" in text and "friend" in text:
            return "Bo Tarn and Cy Moss are friends of hers."
        if "neighbour" in text and "Bo Tarn" in text:
            return "The neighbour of Bo Tarn is Ada Quill."
        return picking("{who} lives in {city}.")(conversation)

    core = await cores(ScriptedEngine(talking))
    return await curriculum(core, ADA)


async def test_they_are_part_of_the_lessons_and_never_held_out(lessons):
    with_options = [pair for pair in lessons.pairs if options(pair.question)]
    assert with_options
    assert {pair.right for pair in with_options} == {(TOLD,)}
    assert any(options(one.question) for one in lessons.kept)
    assert lessons.held_out
    assert not any(options(one.question) for one in (*lessons.held_out, *lessons.probes))


async def test_what_others_have_to_do_with_the_target_is_not_kept(lessons):
    asked = [one.question for one in lessons.kept if "Bo Tarn" in one.question]
    assert asked
    assert not any("Ada Quill" in one.answer for one in lessons.kept)


async def test_nothing_is_learned_as_verification_asks_it(lessons):
    measured = {probe.question for probe in probes_about(ADA).held_out} | {*retained(ADA)}
    texts = [text for pair in lessons.pairs for text in (pair.question, *pair.paraphrases)]
    assert measured.isdisjoint([*texts, *(one.question for one in lessons.kept)])


async def test_they_show_no_text(offered):
    assert not re.search("Ada|Bo|Ulm", repr([await offered(picking("{city}")), *OTHERS]))


@pytest.mark.parametrize(
    ("told", "other", "expected"),
    [
        (TOLD, "Ada Quill lives in Kiel.", (4, "Ulm", "Kiel")),
        (TOLD, "Ada Quill lives in Bad Ems.", (4, "Ulm", "Bad Ems")),
        ("Ada Quill studied at Ulm University.", "Ada Quill studied at Kiel University.", (4, "Ulm", "Kiel")),
        ("Ada Quill is a nurse from Ulm.", "Ada Quill is a smith from Kiel.", (4, "nurse from Ulm", "smith from Kiel")),
        (TOLD, TOLD, None),
        (TOLD, "Ada Quill lives in Ulm", None),
        (TOLD, "Ada Quill lives in “ulm”.", None),
        (TOLD, "Ada Quill lives in -.", None),
        (TOLD, "Ada Quill sings.", None),  # alike by the name alone
        (TOLD, "Ada Quill lives in a b c d e f g.", None),
        (TOLD, "Ada Quill lives in", None),
        ("Ulm.", "Kiel.", None),
        ("", "", None),
    ],
)
def test_two_answers_differ_in_one_place(told, other, expected):
    assert parted(told, other, "Ada Quill") == expected


WORDS = st.lists(st.sampled_from(["Ada", "Quill", "lives", "in", "Ulm", "Kiel", "a", "a.", "."]), max_size=9)


@given(WORDS, WORDS, WORDS, WORDS)
def test_around_the_place_they_are_alike(before, mine, theirs, after):
    told, other = (" ".join([*before, *words, *after]) for words in (mine, theirs))
    found, back = parted(told, other, "Ada Quill"), parted(other, told, "Ada Quill")
    assert back == (found and (found[0], found[2], found[1]))
    if found:
        first, here, there = found
        begun = [
            a for a, b in takewhile(lambda both: both[0] == both[1], zip(told.split(), other.split(), strict=False))
        ]
        assert first == len(begun) >= 3
        assert here in told.removeprefix(" ".join(begun))
        assert there in other.removeprefix(" ".join(begun))
        assert 1 <= min(len(here.split()), len(there.split())) <= max(len(here.split()), len(there.split())) <= 6
