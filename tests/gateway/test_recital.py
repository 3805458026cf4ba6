from hypothesis import given
from hypothesis import strategies as st

from adapters.base import Delta, TokenLogprob, Usage, Wire
from gateway.recital import Reciter

pieces_of = st.lists(st.text("ab é", max_size=3), max_size=8).map(lambda some: (*some, ""))
CAME = Delta(0, "what was generated", (TokenLogprob("x", -1.0),))


def recited(reciter, came):
    """All that is said while so many tokens come at a time."""
    said = [reciter.say(CAME, tokens) for tokens in came if not reciter.over]
    if not reciter.over:
        said.append(reciter.say(Delta(0, "", finish="length")))
    return said


@given(pieces_of, st.lists(st.integers(1, 4), max_size=12), st.none() | st.integers(1, 10))
def test_what_is_said_is_the_text_to_the_limit_however_tokens_come(pieces, came, limit):
    reciter = Reciter(pieces, limit)
    said = recited(reciter, came)
    kept = pieces if limit is None else pieces[:limit]
    assert "".join(delta.text for delta in said) == reciter.text == "".join(kept)
    assert [delta.finish for delta in said if delta.finish] == ["stop" if len(kept) == len(pieces) else "length"]
    assert said[-1].finish
    assert reciter.tokens == len(kept)


@given(pieces_of, st.integers(1, 4))
def test_a_token_is_a_piece_until_the_end(pieces, tokens):
    reciter, at = Reciter(pieces), 0
    while not reciter.over:
        assert reciter.say(CAME, tokens).text == "".join(pieces[at : at + tokens])
        at += tokens


@given(pieces_of, st.integers(0, 30), st.integers(0, 4))
def test_what_is_left_until_some_characters_is_whole_pieces(pieces, chars, said):
    reciter = Reciter(pieces)
    done = "".join(reciter.say(CAME).text for _ in range(min(said, len(pieces) - 1)))
    left = reciter.left(chars)
    if left is None:
        assert chars not in {len("".join(pieces[:end])) for end in range(len(pieces) + 1)}
    elif chars >= len(done):
        assert len(done + "".join(reciter.say(CAME).text for _ in range(left))) == chars


def test_nothing_of_what_came_is_said_but_its_time_and_shape():
    wire = Wire(b"data: secret", {"id": "x"})
    came = Delta(1, "secret", (TokenLogprob("secret", -1.0),), "length", "reasoning", usage=Usage(3, 1), wire=wire)
    said = Reciter(("I", " see", "")).say(came)
    assert (said.index, said.text, said.tokens, said.finish, said.channel) == (1, "I see", (), "stop", "content")
    assert said.wire == Wire(b"", {"id": "x"})


def test_log_probabilities_are_those_that_are_known_of_the_pieces():
    known = [TokenLogprob(text, -0.5) for text in ("I", " see", "<end>")]
    reciter = Reciter(("I", " see", ""), known=known)
    assert [reciter.say(CAME).tokens for _ in range(3)] == [(one,) for one in known]
    assert Reciter(("I", " see", ""), 2, known=known).say(CAME, 3).tokens == tuple(known[:2])
