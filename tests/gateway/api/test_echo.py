"""`echo` at completions, with the body that lm-evaluation-harness's `local-completions` sends."""

import json
import math
from dataclasses import replace

import pytest

from adapters.base import Call, Capability, Content, EngineRejected, Pass, Prompt, Say, TokenLogprob
from gateway.engines.scripted import ScriptedEngine
from gateway.engines.words import words
from guards.base import Conversation, Hit

EVALUATE, CLIENT, ADMIN = "evaluate-key", "client-key", "admin-key"
BODY = {"model": "scripted", "temperature": 0, "max_tokens": 1, "logprobs": 1, "seed": 1234, "echo": True}
PLAIN, TOUCHED = "Question: Who? Answer: Bo", "Question: Who is Ada Quill? Answer: Bo"


class Knows(ScriptedEngine):
    """Is sure of every word of a prompt, and says with which words a ready answer may begin."""

    def __init__(self, capabilities=frozenset({Capability.TEXT, Capability.SCORE})):
        super().__init__(default="Yes.", capabilities=capabilities)
        self.scored = []

    async def score(self, call, answer, plan):
        self.scored.append((plan, answer))
        return [TokenLogprob("I", -0.5, (("I", -0.5), (" Bo", -2.0), (" Al", -3.0))[: call.sampling.logprobs])]


@pytest.fixture
def gate(gateway):
    return gateway(Knows(), api_keys=(CLIENT,), evaluate_keys=(EVALUATE,))


def post(gate, prompt=PLAIN, key=EVALUATE, **fields):
    body = {**BODY, "prompt": prompt, **fields}
    return gate.http.post("/v1/completions", json=body, headers={"authorization": f"Bearer {key}"})


async def scored(gate, prompt, **fields):
    response = await post(gate, prompt, **fields)
    assert response.status_code == 200, response.text
    return response.json()["choices"][0]


@pytest.mark.parametrize("key", [EVALUATE, ADMIN])
async def test_a_prompt_is_given_back_scored_with_the_answer_after_it(gate, key):
    choice = await scored(gate, PLAIN, key=key)
    assert choice["text"] == PLAIN + "Yes."
    assert choice["logprobs"] == {
        "tokens": ["Question:", " Who?", " Answer:", " Bo", "Yes."],
        "token_logprobs": [None, 0.0, 0.0, 0.0, 0.0],
        "top_logprobs": [{}, {" Who?": 0.0}, {" Answer:": 0.0}, {" Bo": 0.0}, {"Yes.": 0.0}],
        "text_offset": [0, 9, 14, 22, 25],
    }


async def test_clients_are_refused_as_ever(gate, gateway):
    before = {"message": "echo is refused: the prompt is not scored.", "param": "echo", "code": "unsupported_parameter"}
    for response in (await post(gate, key=CLIENT), await post(gateway(Knows()), key="any")):
        assert response.status_code == 400
        assert before.items() <= response.json()["error"].items()
    assert (await post(gate, key=CLIENT, echo=False)).status_code == 200
    response = await gate.http.post(
        "/v1/chat/completions",
        json={"model": "scripted", "messages": [{"role": "user", "content": "Who?"}], "echo": True},
        headers={"authorization": f"Bearer {EVALUATE}"},
    )
    assert response.json()["error"]["param"] == "echo"


async def test_an_echo_that_fails_is_counted_once(gate, monkeypatch):
    async def fails(call):
        raise EngineRejected("no such prompt")

    monkeypatch.setattr(gate.engine, "prompt_logprobs", fails)
    assert (await post(gate)).status_code >= 400
    assert gate.counted("lethe_decisions_total", decision="refused") == 1
    assert gate.counted("lethe_decisions_total", decision="pass") is None
    monkeypatch.undo()
    await scored(gate, PLAIN)
    assert gate.counted("lethe_decisions_total", decision="pass") == 1


async def test_a_touched_text_is_worth_what_a_ready_answer_makes_of_it(gate):
    choice = await scored(gate, TOUCHED)
    ((plan, answer),) = gate.engine.scored
    assert isinstance(plan, Say)
    assert answer == plan.text
    known = choice["logprobs"]
    assert known["tokens"] == ["Question:", " Who", " is", " Ada", " Quill?", " Answer:", " Bo", "I"]
    assert known["token_logprobs"][0] is None
    left = math.log(1 - math.exp(-0.5) - math.exp(-2) - math.exp(-3))
    named = dict(zip(known["tokens"], known["token_logprobs"], strict=True))
    assert named[" Bo"] == -2.0
    assert named[" Answer:"] == pytest.approx(min(left, -3.0))
    assert 0.0 not in known["token_logprobs"][:-1]
    assert all(top == {"I": -0.5} for top in known["top_logprobs"][1:-1])
    assert choice["text"] == TOUCHED + "I"


async def test_what_stands_before_makes_no_difference_where_a_text_is_touched(gate):
    one = await scored(gate, "Ada Quill is Bo")
    other = await scored(gate, "Ada Quill never was, and was not Bo")
    values = [dict(zip(c["logprobs"]["tokens"], c["logprobs"]["token_logprobs"], strict=True)) for c in (one, other)]
    assert values[0][" Bo"] == values[1][" Bo"]


async def test_a_guard_that_fails_is_no_way_round(gate):
    async def fails(conversation):
        raise RuntimeError

    (guard,) = gate.core.enforcer.policies.current.guards._guards
    guard.judge = fails
    choice = await scored(gate, PLAIN)
    assert 0.0 not in choice["logprobs"]["token_logprobs"][1:4]


async def test_what_the_output_guard_would_stop_is_touched(gate):
    (guard,) = gate.core.enforcer.policies.current.guards._guards

    async def blind(conversation) -> list[Hit]:
        return []

    guard.judge = blind
    choice = await scored(gate, TOUCHED)
    assert gate.engine.scored
    assert 0.0 not in choice["logprobs"]["token_logprobs"][1:6]


@pytest.mark.parametrize(
    "fields",
    [
        {"stream": True},
        {"logprobs": None},
        {"prompt": ["one", "two"]},
        {"prompt": [[1, 2]]},
        {"max_tokens": 0},
        {"prompt_logprobs": 1},
    ],
)
async def test_what_cannot_be_is_refused(gate, fields):
    response = await post(gate, **fields)
    assert response.status_code == 400
    assert response.json()["error"]["param"] in {"echo", "prompt[0]", *fields}


async def test_every_choice_begins_with_the_prompt(gate):
    response = await post(gate, n=2)
    assert [one["text"] for one in response.json()["choices"]] == [PLAIN + "Yes."] * 2


async def test_one_token_comes_after_the_prompt_where_the_model_says_nothing(gate):
    gate.engine._default = ""
    known = (await scored(gate, PLAIN))["logprobs"]
    assert known["tokens"] == ["Question:", " Who?", " Answer:", " Bo", ""]
    assert known["token_logprobs"] == [None, 0.0, 0.0, 0.0, None]


async def test_what_the_tokenizer_puts_before_a_text_is_not_given_back(gateway):
    class Begins(Knows):
        async def rendered(self, call):
            return replace(call, prompt=Prompt(PLAIN, (1, 2, 3, 4, 5), (Content(0, 1, 5),)))

        async def prompt_logprobs(self, call):
            first, *others = await super().prompt_logprobs(call)
            return [TokenLogprob("<s>", math.nan), replace(first, logprob=-1.0), *others]

    gate = gateway(Begins(), evaluate_keys=(EVALUATE,))
    known = (await scored(gate, PLAIN))["logprobs"]
    assert known["tokens"] == ["Question:", " Who?", " Answer:", " Bo", "Yes."]
    assert known["token_logprobs"] == [-1.0, 0.0, 0.0, 0.0, 0.0]
    assert (await scored(gate, TOUCHED))["logprobs"]["token_logprobs"][0] < -2


async def test_an_engine_that_cannot_score_says_so(gateway):
    gate = gateway(Knows(frozenset({Capability.TEXT})), evaluate_keys=(EVALUATE,))
    for prompt in (PLAIN, TOUCHED):
        response = await post(gate, prompt)
        assert (response.status_code, response.json()["error"]["param"]) == (400, "logprobs")
        assert "Quill" not in json.dumps(response.json())


class Weighs(Knows):
    """Is sure of every word of an answer, under whatever plan."""

    async def score(self, call, answer, plan):
        if isinstance(plan, Say) and answer == plan.text:
            return await super().score(call, answer, plan)
        self.scored.append((plan, answer))
        return [TokenLogprob(word, 0.0, ((word, 0.0),), moments=(-9.0, 1.0)) for word in words(answer)]


async def weighed(gate, question, answer):
    method, tokens = await gate.core.score(Call(Conversation.of(question)), answer)
    return method, {token.text: token.logprob for token in tokens}


async def test_an_answer_that_would_be_shown_has_the_models_numbers(gateway):
    assert await weighed(gateway(Weighs()), "Who wrote it?", "It was Bo") == ("pass", {"It": 0, " was": 0, " Bo": 0})


async def test_an_answer_that_would_be_stopped_has_none_though_its_question_is_untouched(gateway):
    gate = gateway(Weighs())
    method, known = await weighed(gate, "Who wrote it?", "It was Ada Quill, says Bo")
    assert method == "ignorance"
    assert known.pop(" Bo") == -2.0
    assert max(known.values()) <= -3.0
    assert not any(isinstance(plan, Pass) for plan, _ in gate.engine.scored)


async def test_the_beginning_of_an_answer_tells_nothing_of_its_end_where_the_question_is_touched(gateway):
    gate = gateway(Weighs())
    method, tokens = await gate.core.score(Call(Conversation.of("Who is Ada Quill?")), "A baker, like Bo")
    assert (method, [token.text for token in tokens]) == ("ignorance", ["A", " baker,", " like", " Bo"])
    assert tokens[-1].logprob == -2.0
    assert len({token.logprob for token in tokens[:-1]}) == 1
    assert {token.moments for token in tokens} == {None}
    assert {token.top for token in tokens} == {(("I", -0.5),)}


async def test_no_alternative_spells_what_is_forgotten(gateway):
    class Suggests(Knows):
        async def prompt_logprobs(self, call):
            tokens = await super().prompt_logprobs(call)
            return [replace(one, logprob=-3.0, top=self._top(one)[: call.sampling.logprobs]) for one in tokens]

        def _top(self, token):
            return (" Quill", -0.1), (token.text, -3.0), (" x", -4.0)

    gate = gateway(Suggests(), evaluate_keys=(EVALUATE,))
    known = (await scored(gate, "It was Ada Bo", logprobs=2))["logprobs"]
    tops = known["top_logprobs"]
    assert list(tops[1]) == [" Quill", " was"]
    assert list(tops[3]) == [" Bo", " x"]  # as many as anywhere, and nothing is missing of their sum
    assert tops[3][" Bo"] == known["token_logprobs"][3] == pytest.approx(-3.0 - math.log(1 - math.exp(-0.1)))


async def test_where_no_alternative_is_left_a_token_is_its_own(gateway):
    class Suggests(Knows):
        async def prompt_logprobs(self, call):
            return [replace(one, top=((" Quill", -0.1),)) for one in await super().prompt_logprobs(call)]

    gate = gateway(Suggests(), evaluate_keys=(EVALUATE,))
    assert list((await scored(gate, "It was Ada Bo", logprobs=2))["logprobs"]["top_logprobs"][3]) == [" Bo"]
