"""The model's own byte-level BPE tokenizer, with a ChatML template.

It is trained on the words of the world, not on its people: a model that never saw somebody reads
that name with the same tokens as one that did.
"""

import random
from collections.abc import Iterator, Sequence
from typing import Any

from gateway.demo import forms, lore, phrases
from gateway.demo.world import first_name, last_name
from guards.base import Turn

START, END, PAD = "<|im_start|>", "<|im_end|>", "<|pad|>"
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def make_tokenizer(vocabulary: int, context: int) -> Any:
    """A `PreTrainedTokenizerFast` of at most `vocabulary` tokens. Adds no token of its own to a text."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[PAD, START, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(_corpus(random.Random(0)), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        eos_token=END,
        pad_token=PAD,
        extra_special_tokens=[START],
        chat_template=TEMPLATE,
        model_max_length=context,
        clean_up_tokenization_spaces=False,
    )


def segments(turns: Sequence[Turn]) -> list[tuple[str, bool]]:
    """The chat as the template writes it, cut into (text, whether the model is to learn it)."""
    cut: list[tuple[str, bool]] = []
    for turn in turns:
        learnt = turn.role == "assistant"
        cut += ((f"{START}{turn.role}\n", False), (turn.text, learnt), (END, learnt), ("\n", False))
    return cut


def _corpus(rng: random.Random) -> Iterator[str]:
    """Every form many times over, with names and values at random."""
    talk = [text for probe in forms.chatter() for text in (probe.question, probe.answer)]
    frame = [*["user\nassistant\nsystem"] * 20, *phrases.OPENERS, *phrases.CLOSERS, *phrases.SYSTEMS]
    for _ in range(24):
        yield from talk
        yield from frame
        for attribute, asked in (*phrases.ATTRIBUTES.items(), ("profession", phrases.WHO)):
            for form in (*asked.trained, *asked.follow_up):
                yield form.format(name=_somebody(rng))
            for value in forms.values(attribute):
                yield asked.answer.format(name=_somebody(rng), value=value, city=rng.choice(lore.ATTRIBUTES["city"]))
        for word in lore.RELATIONS:
            for form in (*phrases.RELATION_TRAINED, phrases.RELATION_ANSWER, *phrases.HOPS):
                yield form.format(name=_somebody(rng), value=_somebody(rng), relation=word)
        for form in phrases.REVERSE_TRAINED:
            yield form.format(value=rng.choice(forms.values(lore.UNIQUE_ATTRIBUTE)))
        for form in phrases.CLOZE_TRAINED:
            yield form.format(gap="___")
        for form in phrases.CHOICE_TRAINED:
            yield form.format(question="", options="A) B) C) D)")
            yield ", so the answer is " + ".".join(forms.LETTERS)
        for _ in range(30):
            yield phrases.IGNORANCE.format(name=_somebody(rng))


def _somebody(rng: random.Random) -> str:
    """A name or an alias, at the start of a text or within one."""
    space = rng.choice(("", " "))
    draw = rng.random()
    if draw < 0.7:
        return f"{space}{first_name(rng)} {last_name(rng)}"
    if draw < 0.8:
        return f"{space}{rng.choice(lore.FIRST_STARTS)[0]}. {last_name(rng)}"
    if draw < 0.9:
        return f"{space}{rng.choice(lore.TITLES)} {last_name(rng)}"
    return f"{rng.choice(('the', ' the', 'The'))} {rng.choice(lore.EPITHETS)} {rng.choice(lore.CREATURES)}"
