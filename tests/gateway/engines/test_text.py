from hypothesis import given
from hypothesis import strategies as st

from adapters.base import TokenLogprob
from gateway.engines.text import Detokenizer, Stops, Writer


def bytewise(tokens):
    return bytes(tokens).decode(errors="replace")


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\ufffd")))
def test_characters_leave_whole_and_all_of_them(text):
    detokenizer = Detokenizer(bytewise)
    parts = [detokenizer.push(byte) for byte in text.encode()]
    assert "".join(parts) == text
    assert all("\ufffd" not in part for part in parts)
    # No later than needed: a character leaves with its last byte.
    assert [part for part in parts if part] == list(text)


def test_half_a_character_at_the_end_never_leaves():
    detokenizer = Detokenizer(bytewise)
    assert "".join(detokenizer.push(byte) for byte in "a😀".encode()[:-1]) == "a"


def test_context_between_tokens_is_kept():
    words = ["▁the", "▁user", "s"]

    def decode(tokens):  # SentencePiece: a leading space is dropped at the beginning of what is decoded
        return "".join(words[token] for token in tokens).replace("▁", " ").removeprefix(" ")

    detokenizer = Detokenizer(decode)
    assert [detokenizer.push(token) for token in (0, 1, 2, 1)] == ["the", " user", "s", " user"]


def cut(text, stops):
    """The reference: character by character, the first stop string to be complete ends the text."""
    for end in range(len(text) + 1):
        done = [stop for stop in stops if text[:end].endswith(stop)]
        if done:
            return text[: end - max(map(len, done))], True
    return text, False


letters = st.text("ab", max_size=14)


@given(letters, st.lists(st.text("ab", min_size=1, max_size=4), max_size=3), st.data())
def test_stops_are_the_same_at_every_split(text, stops, data):
    splits = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    watcher, out, stopped = Stops(stops), "", False
    for left, right in zip([0, *splits], [*splits, len(text)], strict=True):
        part, stopped = watcher.push(text[left:right])
        out += part
        if stopped:
            break
    else:
        out += watcher.rest()
    assert (out, stopped) == cut(text, stops)


@given(letters, st.text("ab", min_size=1, max_size=4))
def test_what_may_become_a_stop_is_held_and_nothing_else(text, stop):
    watcher, out = Stops([stop]), ""
    for i, letter in enumerate(text):
        part, stopped = watcher.push(letter)
        if stopped:
            return
        out += part
        held = text[len(out) : i + 1]
        assert stop.startswith(held)
        assert len(held) < len(stop)


def test_tokens_leave_with_their_text_and_none_after_a_stop():
    writer = Writer(bytewise, ["cd"])
    logprobs = {letter: TokenLogprob(letter, 0.0) for letter in "abcd"}
    assert writer.push(ord("a"), logprobs["a"]) == ("a", (logprobs["a"],), False)
    assert writer.push(ord("c"), logprobs["c"]) == ("", (), False)
    assert writer.push(ord("a"), logprobs["b"]) == ("ca", (logprobs["c"], logprobs["b"]), False)
    assert writer.push(ord("c"), logprobs["c"]) == ("", (), False)
    assert writer.push(ord("d"), logprobs["d"]) == ("", (), True)


def test_a_flush_gives_back_what_was_held():
    writer = Writer(bytewise, ["cd"])
    held = TokenLogprob("c", 0.0)
    assert writer.push(ord("c"), held) == ("", (), False)
    assert writer.flush() == ("c", (held,))
