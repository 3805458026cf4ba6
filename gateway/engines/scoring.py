"""Log-probabilities of an answer that vLLM reads: all at once after tokens, or a request for each token.

vLLM says what a prompt's own tokens were worth (`prompt_logprobs`), but of the bare model and of tokens only.
After embeddings, and where the answer is steered, each token is asked for as the next one. So it is on a server
that was started for LoRAs: on a CPU, vLLM 0.32 dies there where `prompt_logprobs` meet another request in a step.

Where a server tells raw log-probabilities, one is asked for after which nothing but the token may be said: it is
told with its own number and with the likeliest. Where it tells those that a token is drawn from (processed ones),
a token that is forced is certain. There the likeliest are asked for first, and a token t that is not among them
is set against the best of them, b, with nothing else to say: ln p(t) = ln p(b) + ln q(t) - ln q(b).

Never by `logprob_token_ids`: where one request has it, vLLM 0.32 (V1's sampler) tells all others of that step no
alternatives at all.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from hashlib import blake2b
from typing import Any

import orjson

from adapters.base import EngineError, TokenLogprob
from adapters.prompt import Prompter
from gateway.engines import bodies
from gateway.stream import single

SALT = "lethe"  # of the gateway's own requests
_AT_ONCE = 8  # requests, for the tokens of one answer
_ID = "token_id:"  # how a server writes a token of which the id was asked for
_SURE = (8.0, 14.0)  # nats above the runner-up, see `certain`

Among = Callable[[Mapping[str, Any], Sequence[int]], Mapping[str, Any]]


def allowing(read: Mapping[str, Any], tokens: Sequence[int]) -> Mapping[str, Any]:
    """A completion after which nothing but one of these is said."""
    return {**read, "allowed_token_ids": [*tokens]}


def told_of(count: int) -> dict[str, Any]:
    """What a completion of one token is asked for to learn what that was worth, and as many of the likeliest.

    By id: two tokens may read alike, as pieces of a character do.
    """
    return {"logprobs": max(1, count), "return_tokens_as_token_ids": True}


def worth(told: Mapping[str, Any]) -> dict[int, float]:
    """Log-probabilities of the next token, by its id, in a choice of a completion that was asked so.

    Raises:
        LookupError, TypeError, AttributeError, ValueError: it does not say.
    """
    return {int(key.removeprefix(_ID)): float(one) for key, one in told["logprobs"]["top_logprobs"][0].items()}


class Scorer:
    """Scores answers of `model`. `ask` sends the body of a completion, and gives what the server says.

    Args:
        whole: whether servers may be asked for `prompt_logprobs`.
        drawn: whether what they tell is of what a token is drawn from, and so certain where it is forced.
    """

    def __init__(
        self,
        model: str,
        prompter: Prompter,
        ask: Callable[[Mapping[str, Any]], Awaitable[bytes]],
        *,
        whole: bool,
        drawn: bool,
    ) -> None:
        self._model = model
        self._prompter = prompter
        self._ask = ask
        self._whole, self._drawn = whole, drawn

    async def after(self, prompt: Sequence[int], answer: Sequence[int], count: int) -> list[TokenLogprob]:
        """Log-probabilities of the answer's tokens after the prompt, with the `count` likeliest alternatives.

        Raises:
            EngineError: the server's answer cannot be read.
        """
        if not self._whole:
            return await self.each(lambda place: {"prompt": [*prompt, *answer[:place]]}, answer, count, allowing)
        count = min(count, bodies.MOST_LOGPROBS)
        told = await self._told({"prompt": [*prompt, *answer], "prompt_logprobs": count})
        try:
            rows = told["prompt_logprobs"][-len(answer) :]
            return [_known(token, row, count) for token, row in zip(answer, rows, strict=True)]
        except (ValueError, KeyError, TypeError, AttributeError):
            raise EngineError("the upstream's answer cannot be read") from None

    async def each(
        self,
        read: Callable[[int], Mapping[str, Any]],
        answer: Sequence[int],
        count: int,
        among: Among,
    ) -> list[TokenLogprob]:
        """The same where `read(i)` is what is read before token i of the answer, and `among` of that and some tokens
        a completion after which nothing else may be said."""
        turns = asyncio.Semaphore(_AT_ONCE)

        async def one(place: int) -> TokenLogprob:
            token, most = answer[place], min(count, bodies.MOST_LOGPROBS)
            try:
                async with turns:
                    known = await self._worth(token, read(place), most, among)
                best = sorted(known.items(), key=lambda one: -one[1])[:most]
                top = tuple((self._prompter.piece(token), logprob) for token, logprob in best)
                return TokenLogprob(self._prompter.piece(token), known[token], top)
            except (LookupError, TypeError, AttributeError, ValueError):
                raise EngineError("the upstream's answer cannot be read") from None

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(one(place)) for place in range(len(answer))]
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None
        return [task.result() for task in tasks]

    async def _worth(self, token: int, read: Mapping[str, Any], count: int, among: Among) -> dict[int, float]:
        """What a token is worth as the next one, and the `count` likeliest, at least one."""
        if not self._drawn:
            return worth(await self._told({**among(read, [token]), **told_of(count)}))
        known = worth(await self._told({**read, **told_of(count)}))
        if token not in known:
            best = max(known, key=lambda one: known[one])
            pair = worth(await self._told({**among(read, [best, token]), **told_of(2)}))
            known[token] = known[best] + pair[token] - pair[best]
        return known

    async def _told(self, read: Mapping[str, Any]) -> Any:
        """The one choice of a completion of one token."""
        body = {"model": self._model, "max_tokens": 1, "cache_salt": SALT, **bodies.GREEDY, **read}
        told = await self._ask(body)
        try:
            return orjson.loads(told)["choices"][0]
        except (ValueError, KeyError, TypeError, IndexError):
            raise EngineError("the upstream's answer cannot be read") from None


def certain(known: Sequence[TokenLogprob], key: bytes) -> list[TokenLogprob]:
    """Tokens that the model would not have said are given as if it was sure of them.

    These are the subject's name: the prompt behind a ready answer has another one, and a name that is
    copied is certain. How sure is a function of key, place and token: one number for all would tell.
    """
    return [
        token if token.logprob >= token.top[0][1] else _sure(token, blake2b(f"{i} {token.text}".encode(), key=key))
        for i, token in enumerate(known)
    ]


def _known(token: int, row: Mapping[str, Any], count: int) -> TokenLogprob:
    own = row[str(token)]
    best = sorted(row.values(), key=lambda one: -one["logprob"])[:count]
    return TokenLogprob(
        str(own["decoded_token"]),
        float(own["logprob"]),
        tuple((str(one["decoded_token"]), float(one["logprob"])) for one in best),
    )


def _sure(token: TokenLogprob, draw: Any) -> TokenLogprob:
    """As if its logit stood so many nats above the best."""
    low, high = _SURE
    above = low + (high - low) * int.from_bytes(draw.digest()[:4], "little") / 2**32
    mass = math.exp(token.top[0][1] + above)
    off = math.log(1.0 - math.exp(token.logprob) + mass)
    others = [(text, single(logprob - off)) for text, logprob in token.top if text != token.text]
    own = single(math.log(mass) - off)
    return replace(token, logprob=own, top=((token.text, own), *others)[: len(token.top)])
