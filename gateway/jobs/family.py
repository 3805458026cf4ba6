"""False positives of all requests together, which is what traffic sees: measured on the shipped ordinary prompts.

What each request's targets make of them was stored when they were built; names are looked for now.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from guards.base import Conversation
from guards.calibration import clopper_pearson_upper
from guards.lexicon import LexiconGuard, LexiconView
from guards.targets import Targets, ordinary_prompts


@dataclass(frozen=True, slots=True)
class FalsePositives:
    """How many ordinary prompts any request touches; `upper` bounds their share, one-sided, 95 %."""

    prompts: int
    touched: int
    upper: float


async def false_positives(targets: Iterable[Targets], names: LexiconView, scale: float) -> FalsePositives:
    """The ordinary prompts that any of these requests touches, by name or by likeness; half a second at most.

    Args:
        targets: of the requests in force.
        names: of the same.
        scale: multiplies every threshold.
    """
    prompts = ordinary_prompts()
    touched = np.zeros(len(prompts), np.bool_)
    for one in targets:
        touched |= one.ordinary >= one.threshold * scale
    guard = LexiconGuard(names)
    for i in np.flatnonzero(~touched).tolist():
        await asyncio.sleep(0)  # traffic goes on
        touched[i] = any(hit.reached for hit in await guard.judge(Conversation.of(prompts[i])))
    count = int(touched.sum())
    return FalsePositives(len(prompts), count, clopper_pearson_upper(count, len(prompts)))
