import json

import pytest

from adapters.base import Capability, EngineError, EngineUnavailable
from gateway.engines import bodies
from gateway.engines.examiner import Examiner
from gateway.engines.files import ModelFiles
from gateway.engines.fleet import Fleet
from tests.gateway.engines.fake_vllm import FakeVllm

ALL = {Capability.TEXT, Capability.PROMPT_EMBEDS, Capability.SCORE}


@pytest.fixture
def examined(peer, folder):
    """What is found of a server with these faults."""

    async def found(**how):
        server = FakeVllm(folder, **{"says": lambda prompt: f"Letters: {len(prompt)}, the last {prompt[-20:]}", **how})
        fleet = Fleet([(await peer(server)).url])
        try:
            return await Examiner("tiny", ModelFiles(folder)).examine(fleet.replicas[0]), server
        finally:
            await fleet.close()

    return found


async def test_a_good_server_can_do_all(examined):
    found, _ = await examined()
    assert (found.context, found.capabilities, found.options, found.parts) == (256, ALL, bodies.OPTIONS, True)
    assert found.whole


@pytest.mark.parametrize("fault", ["model", "tokens", "ids"])
async def test_a_server_that_reads_otherwise_does_not_serve(examined, fault):
    with pytest.raises(EngineUnavailable) as caught:
        await examined(faults=[fault])
    assert str(caught.value)


@pytest.mark.parametrize(
    ("fault", "lacks", "parts"),
    [
        ("embeds", Capability.PROMPT_EMBEDS, False),
        ("noise", Capability.PROMPT_EMBEDS, False),
        ("parts", None, False),
        ("score", Capability.SCORE, True),
        ("unscored", Capability.SCORE, True),
    ],
)
async def test_what_does_not_work_is_no_capability(examined, fault, lacks, parts):
    found, _ = await examined(faults=[fault])
    assert found.capabilities == ALL - {lacks}
    assert found.parts is parts


async def test_one_that_does_not_score_prompts_scores_token_by_token(examined):
    found, _ = await examined(faults=["whole"])
    assert (found.capabilities, found.whole) == (ALL, False)


@pytest.mark.parametrize("drawn", [False, True])
async def test_of_what_its_log_probabilities_are_is_seen(peer, folder, drawn):
    """However sure it is: where a raw server's were taken for those that are drawn from, or these for raw ones, every
    score would be wrong."""
    server = FakeVllm(folder)
    server.drawn = drawn
    server.tells, server.own = lambda token: -1e-9 if token == 8 else -30.0 - token, -30.0
    fleet = Fleet([(await peer(server)).url])
    found = await Examiner("tiny", ModelFiles(folder)).examine(fleet.replicas[0])
    await fleet.close()
    assert (found.drawn, Capability.SCORE in found.capabilities) == (drawn, True)


@pytest.mark.parametrize("told", [{"8": 3.5, "9": 2.0}, {"8": 800.0}, {}, None])
@pytest.mark.parametrize("pair", [{}, {"pair": -5.0}])
async def test_what_is_no_log_probability_of_the_token_it_may_say_scores_nothing(peer, folder, told, pair):
    """Logits, however high or low; other tokens; nothing."""
    server = FakeVllm(folder)

    def tells(asked):
        own = {str(token): value for value in pair.values() for token in asked.get("allowed_token_ids", ())}
        return None if told is None else {f"token_id:{token}": value for token, value in (own or told).items()}

    server._likeliest = tells
    fleet = Fleet([(await peer(server)).url])
    found = await Examiner("tiny", ModelFiles(folder)).examine(fleet.replicas[0])
    await fleet.close()
    assert Capability.TEXT in found.capabilities
    assert Capability.SCORE not in found.capabilities


async def test_a_server_without_a_parser_is_asked_for_no_tools(examined):
    found, _ = await examined(faults=["tools"], parser=False)
    assert found.options == bodies.OPTIONS - bodies.TOOLS
    assert found.capabilities == ALL


@pytest.mark.parametrize(("parser", "delta"), [(True, {}), (False, {"content": ""})])
async def test_how_answers_end_is_seen(examined, parser, delta):
    found, _ = await examined(parser=parser)
    assert found.chat.choice == {
        "index": 0,
        "delta": delta,
        "logprobs": None,
        "finish_reason": "stop",
        "stop_reason": None,
        "token_ids": None,
    }
    assert found.chat.silent is not parser
    assert found.chat.usage["system_fingerprint"] == found.completion.usage["system_fingerprint"]
    assert found.completion.choice["text"] == ""
    assert found.completion.silent


async def test_nobodys_words_are_sent(examined):
    """An examination is of texts of ours, kept apart in the server's cache."""
    _, server = await examined()
    assert {body["cache_salt"] for _, body in server.bodies} == {"lethe"}
    assert all(body["max_tokens"] <= 8 for _, body in server.bodies)


@pytest.mark.parametrize("says", [lambda prompt: "", lambda prompt: "The same."])
async def test_a_server_that_says_little_is_still_told_by_its_tokens(examined, says):
    with pytest.raises(EngineUnavailable):
        await examined(says=says, faults=["ids"])


@pytest.mark.parametrize("body", [b"[]", b"{}", b'{"data": [{"id": "tiny"}], "choices": []}', b"secret"])
async def test_a_server_that_answers_anything_ends_in_an_error(peer, folder, body):
    async def answer(writer, request):
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()

    fleet = Fleet([(await peer(answer)).url], examine=Examiner("tiny", ModelFiles(folder)).examine)
    await fleet.start()
    try:
        (replica,) = fleet.replicas
        assert not replica.admitted
        assert isinstance(replica.trouble, EngineError)
        assert "secret" not in json.dumps(str(replica.trouble))
    finally:
        await fleet.close()


@pytest.mark.parametrize(("gives", "found_to_give"), [(40, 28), (28, 28), (20, 20), (5, 0)])
async def test_how_many_alternatives_it_gives_is_seen(peer, folder, gives, found_to_give):
    server = FakeVllm(folder, lambda prompt: f"Letters: {len(prompt)}")
    server.alternatives = gives
    fleet = Fleet([(await peer(server)).url])
    try:
        found = await Examiner("tiny", ModelFiles(folder)).examine(fleet.replicas[0])
    finally:
        await fleet.close()
    assert found.alternatives == found_to_give
