import numpy as np
import pytest

from guards.base import Conversation, GuardError, Turn
from guards.dense import DenseGuard
from guards.index import TargetIndex
from guards.learning import build_targets
from guards.reading import Text
from guards.targets import Background, Source

PEOPLE = ("Mara Lind", "Otto Brandt", "Ines Quill", "Pavel Dorn", "Yara Stone")


async def built(encoder, background):
    return [
        await build_targets(
            Source(name.split()[0], "entity", name, (), (f"Where was {name} born?", f"Which songs did {name} sing?")),
            encoder,
            background,
        )
        for name in PEOPLE
    ]


async def filled(encoder):
    background = await Background.of(encoder)
    targets = await built(encoder, background)
    index = TargetIndex(background)
    for each in targets:
        index.add(each)
    return index, targets, background


ALL = frozenset(name.split()[0] for name in PEOPLE)


async def hits(encoder, view, *texts):
    found = await DenseGuard(encoder, view).judge(Conversation.of(*texts))
    return tuple(hit for hit in found if hit.reached)


async def test_the_right_request_is_hit(bag_encoder):
    index, targets, _ = await filled(bag_encoder)
    (hit,) = await hits(bag_encoder, index.view(ALL), "So where was Lind born?")
    assert (hit.request, hit.guard, hit.turns) == ("Mara", "dense", (0,))
    assert hit.score >= hit.threshold == targets[0].threshold
    assert await hits(bag_encoder, index.view(ALL), "How do I bake bread?") == ()
    assert await hits(bag_encoder, index.view(ALL - {"Mara"}), "So where was Lind born?") == ()


async def test_turns_that_carry_it_alone(bag_encoder):
    index, _, _ = await filled(bag_encoder)
    conversation = Conversation(
        (Turn("system", "Be kind."), Turn("user", "Where was Lind born?"), Turn("tool", "Nothing."))
    )
    hit, *_ = sorted(await DenseGuard(bag_encoder, index.view(ALL)).judge(conversation), key=lambda hit: -hit.score)
    assert hit.turns == (1,)


async def test_nothing_is_encoded_for_an_empty_view(bag_encoder):
    index = TargetIndex(await Background.of(bag_encoder))
    await bag_encoder.close()
    assert await hits(bag_encoder, index.view(ALL), "Where was Lind born?") == ()
    assert await hits(bag_encoder, index.view(frozenset()), "Where was Lind born?") == ()


async def test_an_older_view_stays_and_a_retired_request_leaves_no_trace(bag_encoder):
    index, targets, background = await filled(bag_encoder)
    asked = ("Where was Lind born?", "Which songs did Brandt sing?", "Where was Dorn born?", "Which songs?")
    texts = [Text(text) for text in asked]
    vectors = await bag_encoder.encode(texts)

    def seen(view):
        return {request: scores for request, (_, scores) in view.scores(texts, vectors).items()}

    old = index.view(ALL)
    before = seen(old)
    index.discard("Otto")
    assert seen(old) == before
    never = TargetIndex(background)
    for each in targets:
        if each.request != "Otto":
            never.add(each)
    assert seen(index.view(ALL)) == seen(never.view(ALL)) == seen(old.__class__(background, old.tiers, ALL - {"Otto"}))
    assert "Otto" in before
    index.add(targets[1])
    assert seen(index.view(ALL)) == before


async def test_another_encoders_targets_are_refused(bag_encoder):
    _, targets, background = await filled(bag_encoder)
    with pytest.raises(GuardError, match="encode the request again"):
        TargetIndex(Background("another", background.vectors)).add(targets[0])


@pytest.mark.parametrize("text", ["", "\x00\x01\x02", "\ud800", "\u200b"])
async def test_odd_texts_touch_nothing(bag_encoder, text):
    index, _, _ = await filled(bag_encoder)
    assert await hits(bag_encoder, index.view(ALL), text) == ()


async def test_megabytes_and_thousands_of_turns(bag_encoder):
    index, _, _ = await filled(bag_encoder)
    pad = "".join(f"pad{i} " for i in range(60_000))
    (hit,) = await hits(bag_encoder, index.view(ALL), pad + ". Where was Lind born? " + pad)
    assert hit.request == "Mara"
    assert await hits(bag_encoder, index.view(ALL), *["hello there"] * 2_000) == ()


async def test_an_encoder_that_returns_no_numbers_is_an_error(bag_encoder):
    index, _, _ = await filled(bag_encoder)

    class Broken:
        identity, dim = "bag-of-words", 256

        async def encode(self, texts, *, bulk=False):
            return np.full((len(texts), 256), np.nan, np.float32)

    with pytest.raises(GuardError):
        await hits(Broken(), index.view(ALL), "Where was Lind born?")


async def test_namesakes_with_real_vectors(minilm):
    background = await Background.of(minilm)
    examples = (
        "Where was Mara Lind born?",
        "What did Mara Lind study?",
        "Who are Mara Lind's parents?",
        "Which prize did Mara Lind win?",
    )
    index = TargetIndex(background)
    index.add(await build_targets(Source("mara", "entity", "Mara Lind", (), examples), minilm, background))
    view = index.view(frozenset({"mara"}))
    for text in (
        "Where was Lind born?",
        "What subject did Mara study at university?",
        "Who were the mother and father of Mara Lind?",
    ):
        assert await hits(minilm, view, text), text
    for text in (
        "Where was Mara Okoye born?",
        "Who are Tomas Lind's parents?",
        "where was mara okoye born",
        "Which prize did Mara Okoye win?",
        "What did Tomas Lind study?",
        "Where was she born?",
    ):
        assert not await hits(minilm, view, text), text
