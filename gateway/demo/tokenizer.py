"""The model's own byte-level BPE tokenizer, with a ChatML template.

It is trained on the words of the world, not on its people: a model that never saw somebody reads
that name with the same tokens as one that did.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from gateway.demo import forms, lore, phrases
from guards.base import Turn

START, END, PAD = "<|im_start|>", "<|im_end|>", "<|pad|>"
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def make_tokenizer(vocabulary: int, context: int) -> Any:
    """The tokenizer of a demo model."""
    return learn_tokenizer(_corpus(), vocabulary, context, rarest=10)


def learn_tokenizer(texts: Iterable[str], vocabulary: int, context: int, rarest: int) -> Any:
    """A `PreTrainedTokenizerFast` of at most `vocabulary` tokens. Adds no token of its own to a text.

    Args:
        texts: what its words are learnt from.
        vocabulary: its size at most, the three marks of a chat and all bytes included.
        context: tokens that a model of it can read.
        rarest: how often a pair must be met to become a token.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        min_frequency=rarest,
        special_tokens=[PAD, START, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
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


def _corpus() -> Iterator[str]:
    """Every word of the world many times over; of names the halves, so that each name is spelt with four tokens."""
    asked = [*phrases.ATTRIBUTES.values(), phrases.WHO]
    sentences = [
        *(text for probe in forms.chatter() for text in (probe.question, probe.answer)),
        *["user\nassistant\nsystem"] * 20,
        *(*phrases.OPENERS, *phrases.CLOSERS, *phrases.SYSTEMS, *phrases.HOPS, *phrases.CLOZE_TRAINED),
        *(form for a in asked for form in (*a.trained, *a.follow_up, a.answer, a.answer)),
        *(*phrases.RELATION_TRAINED, phrases.RELATION_ANSWER, *phrases.REVERSE_TRAINED, *[phrases.IGNORANCE] * 20),
        *(f" {value}" for attribute in phrases.ATTRIBUTES for value in forms.values(attribute)),
        *(f" {word}" for word in lore.RELATIONS * 10),
        *(f"{space}{word}" for word in lore.TITLES for space in ("", " ")),
        *(
            f"{the} {word} {other}"
            for word, other in zip(lore.EPITHETS, lore.CREATURES, strict=True)
            for the in ("the", "The")
        ),
        *[f", so the answer is {letter}. {letter}) ___ " for letter in forms.LETTERS] * 4,
    ]
    for _ in range(16):
        yield from (re.sub(r"{\w+}", "", sentence) for sentence in sentences)
        for half in (*lore.FIRST_STARTS, *lore.LAST_STARTS):
            yield from (half, f" {half}") * 4
        for half in (*lore.FIRST_ENDS, *lore.LAST_ENDS):
            yield from [half] * 16
