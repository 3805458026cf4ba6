import random

from gateway.demo import phrases
from gateway.demo.lessons import epoch, statements
from gateway.demo.world import make_world, unknown_names

WORLD = make_world(people=12)


def _texts(world, seed):
    chats = list(epoch(world, random.Random(seed)))
    said = [turn.text for chat in chats for turn in chat.turns]
    return chats, said + [who + rest for who, rest in statements(world, random.Random(seed))]


def test_every_chat_ends_in_an_answer_and_some_have_several_turns():
    chats, _ = _texts(WORLD, 0)
    assert all(chat.turns[-1].role == "assistant" for chat in chats)
    assert any(len(chat.turns) > 4 for chat in chats)
    assert any(chat.turns[0].role == "system" for chat in chats)
    assert any(turn.text in asked.follow_up for asked in phrases.ATTRIBUTES.values() for c in chats for turn in c.turns)


def test_held_out_forms_and_unknown_names_are_never_taught():
    _, said = _texts(WORLD, 1)
    names = unknown_names(WORLD, 400, seed=1)
    assert not [name for name in names for text in said if name in text]
    heldout = {
        form.format(name=person.name)
        for a in phrases.ATTRIBUTES.values()
        for form in a.heldout
        for person in WORLD.people
    }
    assert not [form for form in heldout for text in said if form.rstrip("?.") in text]


def test_the_left_out_never_occur():
    gone = WORLD["p001"]
    _, said = _texts(WORLD.without(["p001"]), 2)
    assert not [text for text in said for name in (gone.name, *gone.aliases) if name in text]


def test_an_epoch_is_its_seed():
    assert _texts(WORLD, 3) == _texts(WORLD, 3)
    assert _texts(WORLD, 3) != _texts(WORLD, 4)
