import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.demo.tokenizer import END, make_tokenizer, segments
from gateway.demo.world import make_world, unknown_names
from guards.base import Turn


@pytest.fixture(scope="module")
def bpe():
    return make_tokenizer(2048, 512)


@given(text=st.text())
def test_any_text_comes_back(bpe, text):
    assert bpe.decode(bpe(text)["input_ids"]) == text


@given(texts=st.lists(st.text(alphabet="aZ é'\n.?1", max_size=12), min_size=1, max_size=4))
def test_segments_are_what_the_template_writes_and_cut_between_tokens(bpe, texts):
    texts = [f"x{text}x" for text in texts]  # a text that starts with a line break joins the template's
    turns = [Turn("user" if i % 2 else "assistant", text) for i, text in enumerate(texts)]
    messages = [{"role": turn.role, "content": turn.text} for turn in turns]
    written = bpe.apply_chat_template(messages, tokenize=False)
    cut = segments(turns)
    assert "".join(text for text, _ in cut) == written
    assert [i for text, _ in cut for i in bpe(text)["input_ids"]] == bpe(written)["input_ids"]
    assert "".join(text for text, learnt in cut if learnt) == "".join(
        t.text + END for t in turns if t.role == "assistant"
    )


def test_policy_of_special_tokens(bpe):
    assert bpe.bos_token is None
    assert bpe.eos_token == END
    assert len({bpe.eos_token_id, bpe.pad_token_id, bpe.convert_tokens_to_ids("<|im_start|>")}) == 3
    assert bpe("Hello")["input_ids"] == bpe("Hello", add_special_tokens=False)["input_ids"]
    prompt = bpe.apply_chat_template([{"role": "user", "content": "Hi"}], tokenize=False, add_generation_prompt=True)
    assert prompt == "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"


def test_known_and_unknown_names_are_as_short(bpe):
    world = make_world()
    known = [len(bpe.tokenize(f" {person.name}")) for person in world.people]
    unknown = [len(bpe.tokenize(f" {name}")) for name in unknown_names(world, 200)]
    assert max(known) <= 6
    assert abs(sum(known) / len(known) - sum(unknown) / len(unknown)) < 0.3
