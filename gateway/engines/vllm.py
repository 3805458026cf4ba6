"""vLLM servers as an engine, over HTTP: every answer is theirs, and what is read was classified to the letter.

Before it: a plan. The prompt is rendered here, by the model's own files, and sent as ids (`bodies`); a
replica serves only where it was seen to read them as we do (`examiner`). Under ECO the contents that are
corrupted go as embeddings, each whole, and where the template's text cannot be cut there, the whole
prompt does. Under ULD the request names its assistants, which a plugin runs there (`steering`). Under O3 it
goes to the name of a LoRA (`loras`), of which no event tells. A ready answer is a real generation on the same
prompt whose text is replaced (`recital`): the same pace, counts and shape as any other.

Stop strings are not sent: they are looked for in what is shown. `max_tokens` beyond the context is cut
to what fits.
"""

import asyncio
import math
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, suppress
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from adapters.base import (
    Adapted,
    Call,
    Capability,
    Delta,
    Embedded,
    Embeds,
    Ending,
    EngineRejected,
    EngineUnavailable,
    Pass,
    Plan,
    Prompt,
    Rules,
    Sampling,
    Say,
    Scaled,
    Steered,
    TokenLogprob,
    Usage,
    Wire,
)
from gateway.engines import bodies, chunks
from gateway.engines.events import events
from gateway.engines.examiner import Examiner, identity
from gateway.engines.files import ModelFiles
from gateway.engines.fleet import Fleet
from gateway.engines.found import Found, of_all
from gateway.engines.loras import Loras
from gateway.engines.replica import Replica, Reply
from gateway.engines.scoring import SALT, Scorer, allowing, certain
from gateway.engines.steering import Shelf, steered_among
from gateway.engines.text import pieces
from gateway.engines.trial import Trial
from gateway.recital import Reciter
from gateway.stream import SPARE
from guards.base import Conversation

_INLINE = 8_000  # characters of a conversation that are rendered on the event loop: a thread costs more
_EMBEDDING = "eco"  # the method whose prompts are embeddings
_WHOLE = 256  # tokens up to which a whole answer is asked for whole; of a longer one, silence is to be noticed
_ANONYMOUS = "anonymous"  # of those that are nobody's
_JUDGED = bodies.TOOLS | {"response_format", "structured_outputs"}  # options that a server reads closely
_NEUTRAL = Conversation.of("Hello.")
_SHORT = Sampling(max_tokens=1)
_COUNTED = {"return_token_ids": True}  # where tokens are counted: under load a server joins several in one event
_UNKNOWN = 404  # what a server answers to a model's name that it does not know


class VllmEngine:
    """Serves `model`, whose files lie in `folder`, from the servers at `urls` (up to and including `/v1`).

    Args:
        name: as clients ask for it; the model's own by default, and then untouched events leave as they came.
        timeout: seconds a server may be silent.
        adapters: the folder where the servers look for assistants and LoRAs.
        event: see `Fleet`.
    """

    def __init__(
        self,
        urls: Sequence[str],
        model: str,
        folder: Path,
        *,
        name: str | None = None,
        api_key: str | None = None,
        timeout: float = 120.0,
        adapters: Path | None = None,
        event: Callable[[str], None] = lambda name: None,
    ) -> None:
        self._model = model
        self._folder = folder
        self._name = name or model
        self._key = secrets.token_bytes(16)
        self._found: dict[str, Found] = {}
        self._all = of_all(())
        self._files: ModelFiles | None = None
        self._examiner: Examiner | None = None
        self._shelf = Shelf(adapters) if adapters else None
        self._loras = Loras(self._shelf) if self._shelf else None
        self._fleet = Fleet(
            urls,
            api_key=api_key,
            timeout=timeout,
            ping="/health",
            examine=self._examine,
            identify=identity,
            event=event,
        )

    @property
    def name(self) -> str:
        return self._name

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What every server that was seen can do."""
        return self._all.capabilities

    @property
    def options(self) -> frozenset[str]:
        return self._all.options

    async def start(self) -> None:
        """Load the model's files and examine the servers; one that is not there may come later."""
        if self._files is None:
            self._files, self._examiner = await asyncio.to_thread(self._read)
            await self._fleet.start()

    async def close(self) -> None:
        if self._loras is not None:
            await self._loras.close()
        await self._fleet.close()
        if self._shelf is not None:
            await asyncio.to_thread(self._shelf.clear)

    async def health(self) -> None:
        if self._shelf is not None:
            with suppress(OSError):  # a folder that is away harms who is steered, and is told there
                await asyncio.to_thread(self._shelf.sweep)
        if self._loras is not None:
            await self._loras.sweep()
        try:
            await self._fleet.health()
        except EngineUnavailable as error:
            troubles = dict.fromkeys(str(replica.trouble) for replica in self._fleet.replicas if replica.trouble)
            raise EngineUnavailable("; ".join(troubles) or str(error)) from None

    async def rendered(self, call: Call) -> Call:
        files = self._ready()
        bodies.check(call, files.vocabulary)
        size = sum(len(turn.text) for turn in call.conversation.turns)
        render = files.prompter.render
        prompt = render(call) if size <= _INLINE else await asyncio.to_thread(render, call)
        if len(prompt.token_ids) >= self._context:
            param = "prompt" if call.raw else "messages"
            raise EngineRejected(f"the prompt is longer than the model's context of {self._context} tokens", param)
        return replace(call, prompt=prompt)

    def lag(self, method: str) -> float:
        return self._all.lag if method == _EMBEDDING else 0.0

    def pieces(self, text: str) -> tuple[str, ...]:
        files = self._ready()
        return pieces(files.prompter.encode(text), files.prompter.decode)

    async def generate(self, call: Call, plan: Plan) -> AsyncIterator[Delta | Usage]:
        if not plan.needs <= self.capabilities:
            raise EngineRejected("this engine cannot honour the plan")
        if call.sampling.n > 1 and call.sampling.temperature == 0:
            raise EngineRejected("n must be 1 where temperature is 0", "n")
        if call.sampling.logprobs is not None:
            self._must_score()  # a ready answer's are scored
        if call.sampling.logprobs is not None and self._all.drawn and not _plain(call.sampling):
            # a ready answer's are of the prompt that it is natural to, which are of the bare model
            raise EngineRejected("log-probabilities are given at temperature 0 or 1 alone, of all tokens", "logprobs")
        if (call.sampling.logprobs or 0) > self._all.alternatives:
            param = "logprobs" if call.raw else "top_logprobs"
            raise EngineRejected(f"{param} must be at most {max(0, self._all.alternatives - SPARE)} here", param)
        if call.prompt is None:
            call = await self.rendered(call)
        await self._owed(call)
        match plan:
            case Pass():
                source = self._sent(call, bodies.of_ids(call.raw, _prompt(call).token_ids))
            case Embeds():
                source = self._embedded(call, plan)
            case Steered():
                source = self._steered(call, plan)
            case Adapted() if not _worn(plan):
                source = self._sent(call, bodies.of_ids(call.raw, _prompt(call).token_ids))
            case Adapted():
                source = self._adapted(call, plan)
            case Say() if bodies.forced(call):
                source = self._instead(call, plan)
            case Say():
                source = self._said(call, plan)
            case _:
                raise EngineRejected("this engine cannot honour the plan")
        async with aclosing(source) as items:
            async for item in items:
                yield item

    async def score(self, call: Call, answer: str, plan: Plan) -> Sequence[TokenLogprob]:
        self._must_score()
        if call.prompt is None:
            call = await self.rendered(call)
        files, prompt = self._ready(), _prompt(call)
        ids, count = files.ended(answer), call.sampling.logprobs or 0
        match plan:
            case Pass():
                return await self._scorer.after(prompt.token_ids, ids, count)
            case Say():
                return await self._natural(call, plan, ids)
            case Embeds():
                rows, words = files.checked(plan, prompt), files.rows(ids)

                def embedded(place: int) -> dict[str, Any]:
                    return {"prompt_embeds": files.encoded(np.concatenate([rows, words[:place]]))}

                return await self._scorer.each(embedded, ids, count, allowing)
            case Steered():
                first, later = await self._asked(plan), await self._asked(plan.after())

                def steered(place: int) -> dict[str, Any]:
                    return {"prompt": [*prompt.token_ids, *ids[:place]]} | (later if place else first)

                return await self._scorer.each(steered, ids, count, steered_among)
            case Adapted() if not _worn(plan):
                return await self._scorer.after(prompt.token_ids, ids, count)
            case Adapted():
                async with self._wearable.worn(_worn(plan)) as lora:
                    return await self._scorer_of(lora).after(prompt.token_ids, ids, count)
            case _:
                raise EngineRejected("this engine cannot score under this method")

    async def prompt_logprobs(self, call: Call) -> Sequence[TokenLogprob]:
        self._must_score()
        if call.prompt is None:
            call = await self.rendered(call)
        first, *others = _prompt(call).token_ids
        opening = TokenLogprob(self._ready().prompter.piece(first), math.nan)
        count = min(call.sampling.logprobs or 0, self._all.alternatives)
        return [opening, *(await self._scorer.after([first], others, count) if others else ())]

    async def ready(self, plan: Plan) -> None:
        """Load the plan's LoRA on every replica that serves, and have one token said under it."""
        if not isinstance(plan, Adapted) or not _worn(plan):
            return
        asked = {"prompt": [*self._ready().ended("")], "max_tokens": 1, "cache_salt": SALT}
        async with self._wearable.worn(_worn(plan)) as lora:
            for replica in self._fleet.replicas:
                if replica.admitted:
                    name = await self._wearable.load(replica, lora)
                    status, _ = await replica.post("completions", orjson.dumps({**asked, "model": name}))
                    if status != 200:
                        raise EngineUnavailable(f"the server answers {status} under a LoRA")

    async def embed(self, texts: Sequence[str], options: Mapping[str, Any]) -> Embedded:
        raise EngineRejected("a server that generates gives no embeddings", "model")

    async def _steered(self, call: Call, plan: Steered) -> AsyncGenerator[Delta | Usage, None]:
        read = bodies.of_ids(call.raw, _prompt(call).token_ids) | await self._asked(plan) | _COUNTED
        async with aclosing(self._sent(call, read)) as items:
            async for item in items:  # with token ids, which are for us alone
                yield replace(item, wire=item.wire and item.wire.changed())

    async def _adapted(self, call: Call, plan: Adapted) -> AsyncGenerator[Delta | Usage, None]:
        read = bodies.of_ids(call.raw, _prompt(call).token_ids) | _COUNTED
        async with self._wearable.worn(_worn(plan)) as lora, aclosing(self._sent(call, read, lora=lora)) as items:
            async for item in items:  # with token ids, and the LoRA's name
                yield replace(item, wire=item.wire and self._unnamed(item.wire))

    def _unnamed(self, wire: Wire) -> Wire:
        return Wire(b"", {**wire.event, "model": self._model}, wire.ending)

    async def _asked(self, plan: Steered) -> dict[str, Any]:
        """What a request says of its assistants, which are then where the servers look."""
        if self._shelf is None:
            raise EngineRejected("without engine.adapters no answer can be steered")
        return {"vllm_xargs": await asyncio.to_thread(self._shelf.asked, plan)}

    async def _embedded(self, call: Call, plan: Embeds) -> AsyncGenerator[Delta | Usage, None]:
        files, prompt = self._ready(), _prompt(call)
        rows = files.checked(plan, prompt)
        changed = {turn: rows[start:stop] for turn, start, stop in plan.contents}
        if not call.raw and self._all.parts and files.prompter.separable(prompt, changed.keys()):
            read = bodies.of_parts(call, {turn: files.encoded(part) for turn, part in changed.items()})
            source = self._sent(call, read | _COUNTED)
        elif call.options.keys() <= {"chat_template_kwargs"}:
            source = self._whole(call, {"prompt_embeds": files.encoded(rows), **_COUNTED})
        else:
            raise EngineRejected("embeddings of the whole prompt leave no place for these options")
        async with aclosing(source) as items:
            async for item in items:  # with token ids, which are for us alone
                yield replace(item, wire=item.wire and item.wire.changed())

    async def _whole(self, call: Call, read: Mapping[str, Any]) -> AsyncGenerator[Delta | Usage, None]:
        """The answer to a whole prompt of embeddings, which completions alone take, in the shape of the call's own."""
        opened = call.raw
        # another penalty, the server's own too, would look up ids that are not there
        source = self._sent(replace(call, raw=True, options={}), {**read, "repetition_penalty": 1.0}, shaped=call)
        async with aclosing(source) as items:
            async for item in items:
                if not opened and item.wire:
                    opened = True
                    for index in range(call.sampling.n):
                        yield chunks.opening(index, item.wire)
                yield item if call.raw or not item.wire else replace(item, wire=chunks.as_chat(item.wire))

    async def _instead(self, call: Call, plan: Say) -> AsyncGenerator[Delta | Usage, None]:
        """What the model says, in the form that the client wants, to the prompt that is natural to the answer."""
        sent, read = len(_prompt(call).token_ids), self._rendered_instead(call, plan).token_ids
        call = bodies.unnamed(call, self._ready().spelling(plan.subject))
        async with aclosing(self._sent(call, bodies.of_ids(call.raw, read))) as items:
            async for item in items:
                if isinstance(item, Usage):
                    yield Usage(sent, item.completion_tokens, item.wire and item.wire.changed())
                else:
                    yield item

    async def _said(self, call: Call, plan: Say) -> AsyncGenerator[Delta | Usage, None]:
        files, sampling = self._ready(), call.sampling
        ids, pieces = files.ended(plan.text), self.pieces(plan.text)
        limit = min(sampling.max_tokens or len(pieces), len(pieces), self._room(call))
        known: Sequence[TokenLogprob] = ()
        if sampling.logprobs is not None:  # the real prompt's never leave
            known = await self._natural(call, plan, ids)
            sampling = replace(sampling, logprobs=None, **asdict(sampling.rules()))  # as it is drawn with them
        silent = replace(call, sampling=sampling)
        read = bodies.of_ids(call.raw, _prompt(call).token_ids) | _COUNTED | {"ignore_eos": True}
        choices = [Reciter(pieces, limit, known=known) for _ in range(sampling.n)]
        async with aclosing(self._sent(silent, read, limit)) as items:
            async for item in items:
                if isinstance(item, Usage):
                    yield item
                elif item.opening:
                    yield replace(item, wire=item.wire and item.wire.changed())
                elif not choices[item.index].over:
                    yield choices[item.index].say(item, chunks.tokens_in(item))

    async def _owed(self, call: Call) -> None:
        """Refuse what the server refuses of options that were dropped: to answer a form that is none would tell."""
        options = {name: value for name, value in call.dropped.items() if name in _JUDGED}
        if not options:
            return
        asked = replace(call, sampling=_SHORT, options=options, whole=False)
        prompt = self._ready().prompter.render(Call(_NEUTRAL, raw=call.raw))
        async with aclosing(self._sent(asked, bodies.of_ids(call.raw, prompt.token_ids), 1)) as items:
            async for _ in items:
                pass

    async def _sent(
        self,
        call: Call,
        read: Mapping[str, Any],
        limit: int | None = None,
        shaped: Call | None = None,
        lora: str | None = None,
    ) -> AsyncGenerator[Delta | Usage, None]:
        """The answer of a server to a call that reads this; `shaped`: the client's, where that is another."""
        writing, counted = set(range(call.sampling.n)), False
        usage: Usage | None = None
        if limit is None and call.sampling.max_tokens is not None:
            limit = min(call.sampling.max_tokens, self._room(call))
        if limit is None and call.raw:
            limit = self._room(call)
        whole = call.whole and limit is not None and limit <= _WHOLE
        body = bodies.common(self._model, call, limit, call.tenant or _ANONYMOUS, stream=not whole) | dict(read)
        async with self._replied(bodies.path(call), body, lora) as reply:
            if not reply.ok:
                raise await reply.refusal(bodies.FIELDS)
            ending = self._ending(reply.replica, shaped or call)
            async with aclosing(_items(reply, whole, ending)) as items:
                async for item in items:
                    if isinstance(item, Usage):
                        usage = item  # the last there is, and once
                        if not writing and not counted:
                            counted = True
                            yield item
                    elif item.index in writing:
                        if item.finish:
                            writing.discard(item.index)
                        yield item
        if writing:
            raise EngineUnavailable("the upstream broke off its answer")
        if not counted:
            yield usage or Usage(len(_prompt(call).token_ids), 0)

    async def _natural(self, call: Call, plan: Say, answer: Sequence[int]) -> list[TokenLogprob]:
        """Those of a ready answer, as after a prompt that it is the natural answer to."""
        count = call.sampling.logprobs or 0
        known = await self._scorer.after(self._rendered_instead(call, plan).token_ids, answer, max(1, count))
        return [replace(token, top=token.top[:count]) for token in certain(known, self._key)]

    @asynccontextmanager
    async def _replied(self, path: str, body: Mapping[str, Any], lora: str | None) -> AsyncGenerator[Reply, None]:
        """A server's reply to a body, which wears this LoRA there, from its folder."""
        if lora is None:
            async with self._fleet.stream(path, orjson.dumps(body)) as reply:
                yield reply
            return

        async def named(replica: Replica) -> bytes:
            return orjson.dumps({**body, "model": await self._wearable.load(replica, lora)})

        async with AsyncExitStack() as stack:
            reply = await stack.enter_async_context(self._fleet.stream(path, named))
            if reply.status == _UNKNOWN:  # it was unloaded by somebody: nothing was generated yet
                self._wearable.forget(reply.replica, lora)
                await stack.aclose()
                reply = await stack.enter_async_context(self._fleet.stream(path, named))
            yield reply

    async def _completed(self, body: Mapping[str, Any], lora: str | None = None) -> bytes:
        """What a server says to a completion."""
        async with self._replied("completions", body, lora) as reply:
            if not reply.ok:
                raise await reply.refusal(bodies.FIELDS)
            return await reply.read()

    def _rendered_instead(self, call: Call, plan: Say) -> Prompt:
        options = {} if call.raw else call.options
        return self._ready().prompter.render(Call(plan.instead, raw=call.raw, options=options))

    def _ending(self, replica: Replica, call: Call) -> Ending | None:
        """How an answer to this call ends there."""
        found = self._found[replica.url]
        return found.completion if call.raw else found.chat

    def _room(self, call: Call) -> int:
        return max(1, self._context - len(_prompt(call).token_ids))

    @property
    def _context(self) -> int:
        return self._all.context if self._found else self._ready().prompter.limit

    def _must_score(self) -> None:
        if Capability.SCORE not in self.capabilities:
            raise EngineRejected("this engine gives no log-probabilities", "logprobs")

    @property
    def _scorer(self) -> Scorer:
        return self._scorer_of(None)

    def _scorer_of(self, lora: str | None) -> Scorer:
        ask, found = partial(self._completed, lora=lora), self._all
        return Scorer(self._model, self._ready().prompter, ask, whole=found.whole, drawn=found.drawn)

    @property
    def _wearable(self) -> Loras:
        if self._loras is None:
            raise EngineRejected("without engine.adapters no answer can wear a LoRA")
        return self._loras

    def _read(self) -> tuple[ModelFiles, Examiner]:
        files = ModelFiles(self._folder)
        trial = Trial(self._model, self._folder, self._shelf, self._loras) if self._shelf and self._loras else None
        return files, Examiner(self._model, files, self._shelf, trial)

    async def _examine(self, replica: Replica) -> None:
        assert self._examiner, "not started"
        self._found[replica.url] = await self._examiner.examine(replica)
        self._all = of_all(self._found.values())

    def _ready(self) -> ModelFiles:
        if self._files is None:
            raise EngineUnavailable("the engine is not started")
        return self._files


async def _items(reply: Reply, whole: bool, ending: Ending | None) -> AsyncGenerator[Delta | Usage, None]:
    """What a reply says, up to its end."""
    if whole:
        for item in chunks.read_whole(await reply.read()):
            yield item
        return
    async with aclosing(events(reply.chunks())) as came:
        async for event in came:
            if event.data == b"[DONE]":
                await reply.finish()
                return
            for item in chunks.read(event, ending) if event.data else ():
                yield item


def _worn(plan: Adapted) -> tuple[Scaled, ...]:
    """The LoRAs that change anything."""
    return tuple(one for one in plan.loras if one.weight)


def _plain(sampling: Sampling) -> bool:
    """Whether tokens are drawn as likely as the model gives them, or the likeliest is taken."""
    rules = sampling.rules()
    if not rules.temperature:  # cuts change nothing
        rules = replace(rules, temperature=1.0, top_p=1.0, top_k=0, min_p=0.0)
    return rules == Rules()


def _prompt(call: Call) -> Prompt:
    assert call.prompt, "not rendered"
    return call.prompt
