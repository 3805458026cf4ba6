"""Seconds between the tokens of answers that never end: of two, which costs how many times the other."""

import asyncio
from collections.abc import Sequence
from itertools import pairwise
from math import nan
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np

from adapters.base import Call, Plan, Sampling, Usage
from adapters.weights import causal_lm
from gateway.demo.train import ensure_model, quiet
from gateway.engines.local import LocalEngine
from gateway.settings import Settings
from guards.base import Conversation
from guards.targets import ordinary_prompts

_TOKENS = 96
_RESAMPLES = 2000


def never_ending(settings: Settings, folder: Path) -> Any:
    """The demo model with the embedding of its end at zero, which no best token has; kept in `folder` too."""
    from transformers import AutoTokenizer

    source = ensure_model(settings.models)
    with quiet():
        model = causal_lm(source)
        tokenizer = AutoTokenizer.from_pretrained(source)
        model.get_input_embeddings().weight.data[tokenizer.eos_token_id] = 0.0
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    return model


async def step(engine: LocalEngine, plans: Sequence[Plan]) -> float:
    """Seconds between two tokens of a stream: the median over all, each with its plan, that run at once."""
    questions = ordinary_prompts()[: len(plans)]
    found = await asyncio.gather(
        *(gaps(engine, question, plan) for question, plan in zip(questions, plans, strict=True))
    )
    return median(gap for each in found for gap in each)


async def gaps(engine: LocalEngine, question: str, plan: Plan) -> list[float]:
    """Seconds between the tokens of one answer, which is as long as it may be."""
    call = Call(Conversation.of(question), Sampling(_TOKENS, 0.0))
    when: list[float] = []
    async for event in engine.generate(call, plan):
        if isinstance(event, Usage):
            assert event.completion_tokens == _TOKENS, "a stream that ended"
        else:
            when.append(perf_counter())
    return [later - earlier for earlier, later in pairwise(when)]


def beside(under: Sequence[float], over: Sequence[float]) -> tuple[float, float, float, float, float, int]:
    """Of seconds, round by round: the medians of both in milliseconds, what `ratio_of` says, and how many rounds."""
    return 1e3 * median(under), 1e3 * median(over), *ratio_of(over, under), len(under)


def ratio_of(over: Sequence[float], under: Sequence[float]) -> tuple[float, float, float]:
    """The median over rounds of a round's ratio, and the middle 95 % of it when rounds are drawn anew; of one, NaN."""
    ratios = np.asarray(over) / np.asarray(under)
    if len(ratios) < 2:
        return float(np.median(ratios)), nan, nan
    again = np.random.default_rng(0).choice(ratios, (_RESAMPLES, len(ratios)))
    low, high = np.quantile(np.median(again, axis=1), [0.025, 0.975])
    return float(np.median(ratios)), float(low), float(high)
