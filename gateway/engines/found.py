"""What vLLM servers can do: one, as it was examined, and all of them together.

Before it: `examiner`. After it: `vllm`, which rests on nothing that not all of them can.
"""

from collections.abc import Collection
from dataclasses import dataclass
from statistics import fmean

from adapters.base import Capability, Ending
from gateway.engines import bodies


@dataclass(frozen=True, slots=True)
class Found:
    """`context` in tokens; `parts`: message contents as embeddings read as their tokens do.

    `whole`: `prompt_logprobs` may be asked for. `alternatives`: to a token, the most that it gives. `drawn`:
    log-probabilities are those that a token is drawn from, after temperature and cuts. `lag`: seconds by which
    embeddings are answered later than ids, the medians of a few. `chat` and `completion` are how such answers
    end, None where the server would not end one at once.
    """

    context: int
    capabilities: frozenset[Capability]
    options: frozenset[str]
    parts: bool
    whole: bool = False
    alternatives: int = 0
    drawn: bool = False
    lag: float = 0.0
    chat: Ending | None = None
    completion: Ending | None = None


def of_all(servers: Collection[Found]) -> Found:
    """What all can do; how answers end is each one's own. Of none, what any can be asked for."""
    if not servers:
        return Found(0, frozenset({Capability.TEXT}), bodies.OPTIONS, True, True, bodies.MOST_LOGPROBS)
    capabilities = frozenset.intersection(*(one.capabilities for one in servers))
    drawn = {one.drawn for one in servers}
    if len(drawn) > 1:  # no number would say what it is of
        capabilities -= {Capability.SCORE}
    return Found(
        min(one.context for one in servers),
        capabilities,
        frozenset.intersection(*(one.options for one in servers)),
        parts=all(one.parts for one in servers),
        whole=all(one.whole for one in servers),
        # to a token as many for a ready answer as for any, so all of them or none are refused
        alternatives=min(one.alternatives for one in servers),
        drawn=any(drawn),
        lag=fmean(one.lag for one in servers),
    )
