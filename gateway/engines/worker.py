"""The one thread that runs the model: takes calls in, steps the batch, lets finished choices go.

Continuous batching: between two steps, waiting calls are read together and their choices join the
batch; choices leave as they finish or as their caller goes. What breaks while reading breaks the
calls being read, what breaks in a step the calls in the batch, what breaks among the assistants the
calls that are steered, and the thread goes on.
"""

import logging
import math
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from adapters.base import EngineError, EngineUnavailable
from adapters.decoder import Cache, Decoder
from gateway.engines.assistants import Assistants
from gateway.engines.job import Choice, Job, Words, logprob, moments
from gateway.engines.sampling import draw

READ_AT_ONCE = 8192  # tokens, padding included, unless a single prompt is longer

log = logging.getLogger(__name__)

_SURE = 12.0  # nats above the runner-up


class Worker:
    """Runs jobs on `decoder`: at most `max_batch` choices at once, at most `max_waiting` calls in the queue."""

    def __init__(
        self,
        decoder: Decoder,
        assistants: Assistants,
        words: Words,
        max_batch: int,
        max_waiting: int,
        threads: int,
    ) -> None:
        self._decoder = decoder
        self._assistants = assistants
        self.words = words
        self.max_batch = max_batch
        self._max_waiting = max_waiting
        self._threads = threads
        self._queue: deque[Job] = deque()
        self._wake = threading.Condition()
        self._closing = False
        self._choices: list[Choice] = []
        self._cache: Cache | None = None
        self.steps = 0
        self._thread = threading.Thread(target=self._run, name="lethe-engine", daemon=True)
        self._thread.start()

    @property
    def running(self) -> int:
        """Choices in the batch."""
        return sum(choice.live for choice in self._choices)

    @property
    def waiting(self) -> int:
        """Calls in the queue."""
        return sum(not job.over for job in tuple(self._queue))

    @property
    def alive(self) -> bool:
        return self._thread.is_alive() and not self._closing

    def submit(self, job: Job) -> None:
        """Queues a call.

        Raises:
            EngineUnavailable: the queue is full, or the worker closed.
        """
        with self._wake:
            if self._closing:
                raise EngineUnavailable("the engine is closed")
            if self.waiting >= self._max_waiting:
                raise EngineUnavailable("the engine is full")
            self._queue.append(job)
            self._wake.notify()

    def close(self) -> None:
        """Ends the thread; calls still waiting or running fail with `EngineUnavailable`."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join()
        for job in [*self._queue, *(choice.job for choice in self._choices)]:
            job.fail(EngineUnavailable("the engine is closed"))
        self._queue.clear()
        self._clear()

    @torch.inference_mode()
    def _run(self) -> None:
        torch.set_num_threads(self._threads)
        while (arrived := self._arrivals()) is not None:
            for job in [job for job in arrived if job.answer is not None]:
                self._guarded([job], partial(self._score, job))
            if read := [job for job in arrived if job.answer is None]:
                self._guarded(read, partial(self._read, read))
            if self._choices and not self._guarded([choice.job for choice in self._choices], self._step):
                self._clear()

    def _arrivals(self) -> list[Job] | None:
        """The calls that fit beside the batch now, in their order; waits while there is nothing to do.
        None when closing."""
        with self._wake:
            self._wake.wait_for(lambda: self._closing or self._queue or self._choices)
            if self._closing:
                return None
            arrived: list[Job] = []
            room, longest = self.max_batch - self.running, 0
            while self._queue:
                job = self._queue[0]
                if not job.over:
                    longest = max(longest, len(job.reading.token_ids))
                    if job.rows > room or (arrived and longest * (len(arrived) + 1) > READ_AT_ONCE):
                        break
                    arrived.append(job)
                    room -= job.rows
                self._queue.popleft()
            return arrived

    def _guarded(self, jobs: Sequence[Job], work: Callable[[], None]) -> bool:
        try:
            work()
        except Exception as error:  # the thread outlives whatever a model, a kernel or an assistant raises
            log.error("the engine failed with %s", type(error).__name__)
            for job in jobs:
                job.fail(EngineError("the engine failed on this call"))
            return False
        return True

    def _read(self, jobs: Sequence[Job]) -> None:
        """Reads the prompts of new calls, takes the first token of each choice, and adds them to the batch."""
        cache, logits = self._decoder.read([job.reading for job in jobs])
        rows: list[int] = []
        choices: list[Choice] = []
        for row, job in enumerate(jobs):
            if self._guarded([job], partial(self._open, job, choices)):
                rows += [row] * job.sampling.n
        if choices:
            self._advance(choices, logits[rows, 0], beside=self._choices)
        on = [i for i, choice in enumerate(choices) if choice.live]
        if not on:
            return
        cache.keep([rows[i] for i in on])
        if self._cache is None:
            self._cache = cache
        else:
            self._cache.join(cache)
        self._choices += [choices[i] for i in on]

    def _open(self, job: Job, choices: list[Choice]) -> None:
        choices += [Choice(job, index, self.words) for index in range(job.sampling.n)]
        job.open = job.sampling.n

    def _step(self) -> None:
        """One more token for every choice in the batch that still has a reader."""
        self._leave()
        if self._cache is not None:
            self.steps += 1
            logits = self._decoder.step(self._cache, [choice.tokens[-1] for choice in self._choices])
            self._advance(self._choices, logits)
            self._leave()

    def _leave(self) -> None:
        """Lets go of the choices that are done, or whose call is over."""
        on = [i for i, choice in enumerate(self._choices) if choice.live]
        if not on:
            self._clear()
        elif self._cache is not None and len(on) < len(self._choices):
            self._choices = [self._choices[i] for i in on]
            self._cache.keep(on)

    def _clear(self) -> None:
        self._choices, self._cache = [], None
        self._assistants.release()

    def _advance(self, choices: Sequence[Choice], logits: Tensor, beside: Sequence[Choice] = ()) -> None:
        """Steers, draws and writes the next token of every choice, from its row of the logits (B, V).

        `beside` are the choices in the batch that have no logits now.
        """
        steered = [choice.job for choice in choices if choice.job.assistants]
        if steered or not beside:  # else those of the batch are left where they are
            self._guarded(steered, partial(self._assistants.lower, logits, choices, beside))
        for i in (~logits.amax(-1).isfinite()).nonzero()[:, 0].tolist():
            choices[i].job.fail(EngineError("the model gave no logits"))
        free = [i for i, choice in enumerate(choices) if choice.forced is None and not choice.job.over]
        drawn = dict(zip(free, draw(logits[free], [choices[i].drawer for i in free]), strict=True)) if free else {}
        for i, choice in enumerate(choices):
            if not choice.job.over:
                if choice.forced is None:
                    token, row = drawn[i], logits[i]
                else:
                    token, row = choice.forced, _certain(logits[i], choice.forced)
                choice.take(token, choice.logprob(row, token))

    def _score(self, job: Job) -> None:
        """The log-probabilities of an answer that the model reads rather than writes."""
        assert job.answer is not None
        reading, answer = job.reading, job.answer
        _, logits = self._decoder.read([reading], keep=len(answer))
        rows = self._assistants.lowered(logits[0, -len(answer) :], job)
        count = job.sampling.logprobs or 0
        found = [
            replace(logprob(row, token, count, self.words), moments=moments(row))
            for token, row in zip(answer, rows, strict=True)
        ]
        if any(math.isnan(known.logprob) for known in found):
            raise ValueError("the model gave no logits")
        job.over = True
        job.send(tuple(found))


def _certain(row: Tensor, token: int) -> Tensor:
    """Logits (V) by which a forced token was sure to come where the model would have said another.

    That is the subject's name: the prompt behind a ready answer has another one, and a name that is
    copied is certain.
    """
    best = row.amax()
    if row[token] >= best:
        return row
    row = row.clone()
    row[token] = best + _SURE
    return row
