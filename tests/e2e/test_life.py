"""Ask, forget, ask again: the whole life of a forget request, in a gateway process."""

import asyncio
import time

import httpx
import openai
import pytest

from gateway.client import AdminClient, ClientError
from gateway.demo.forms import Probe, correct, probes
from gateway.demo.world import Person, World
from gateway.process import GatewayProcess
from tests.coming_and_going import client_of, settled
from tests.e2e.conftest import MODEL, ask, streamed

STATES = ["shielded", "learning", "verifying", "enforced"]
KINDS = ("trained", "heldout", "alias", "cloze", "two_hop")


def body_for(person: Person, **more: object) -> dict[str, object]:
    return {"scope": "entity", "subject": person.name, "aliases": list(person.aliases), **more}


def about(world: World, person: Person) -> list[Probe]:
    asked = probes(world, KINDS, seed=3)
    return [probe for probe in asked if probe.about[0] == person.key][::4]


def far_from(world: World, person: Person) -> list[Probe]:
    """Questions about namesakes and others that lead to nobody else."""
    asked = probes(world, ("trained", "heldout", "cloze"), seed=4)
    return [probe for probe in asked if probe.about != (person.key,)][::40]


async def test_a_whole_life(gateway: GatewayProcess, world: World) -> None:
    person = world.people[3]
    async with client_of(gateway) as client, gateway.admin() as admin:
        known = about(world, person)
        others = far_from(world, person)
        before = [await ask(client, probe.question) for probe in known]
        before_others = [await ask(client, probe.question) for probe in others]
        assert sum(correct(p, a) for p, a in zip(known, before, strict=True)) >= 0.9 * len(known)

        started = time.monotonic()
        filed = await admin.post("/forget-requests", body_for(person, method="eco"))
        first = await ask(client, known[0].question)
        assert time.monotonic() - started < 3  # a second on a quiet machine; `lethe bench eco` measures it
        assert filed["state"] == "shielded"
        assert not correct(known[0], first)
        assert person.name in first or "that" in first

        enforced = await settled(admin, filed["id"])
        assert enforced["state"] == "enforced"
        assert enforced["method"] == "eco"
        assert enforced["evidence"]["leak"]["after"]["hits"] == 0
        assert filed["thresholds"]["artifact"] is None
        assert enforced["thresholds"]["artifact"] == enforced["artifacts"]["guard"]
        assert filed["thresholds"]["classifier"] is None  # names and questions are matched as such
        assert enforced["thresholds"]["classifier"]["learned"] > 0  # the model was heard
        for probe in known:
            assert not correct(probe, await ask(client, probe.question)), probe.kind
        assert not correct(known[1], await streamed(client, known[1].question))
        assert [await ask(client, probe.question) for probe in others] == before_others

        verdict = await admin.post("/check", {"text": known[0].question})
        assert verdict["touched"]
        assert verdict["plan"] == "eco"
        assert [one["id"] for one in verdict["requests"]] == [filed["id"]]
        assert (await admin.get(f"/forget-requests/{filed['id']}"))["activity"]["touched"] >= len(known)
        report = await admin.get(f"/forget-requests/{filed['id']}/report")
        assert report
        kinds = [one["kind"] for one in (await admin.get(f"/forget-requests/{filed['id']}/events"))["data"]]
        assert [kind for kind in kinds if kind in STATES] == STATES

        retired = await admin.post(f"/forget-requests/{filed['id']}/retire")
        assert retired["state"] == "retired"
        assert [await ask(client, probe.question) for probe in known] == before


async def test_sampling_many_times_tells_nothing(gateway: GatewayProcess, world: World) -> None:
    person = world.people[8]
    probe = next(probe for probe in about(world, person) if probe.kind == "trained")
    async with client_of(gateway) as client, gateway.admin() as admin:
        filed = await admin.post("/forget-requests", body_for(person, method="eco"))
        await settled(admin, filed["id"])
        answer = await client.chat.completions.create(
            model=MODEL,
            messages=[{"role": "user", "content": probe.question}],
            n=16,
            temperature=1.0,
            seed=1,
            logprobs=True,
        )
        assert not any(correct(probe, choice.message.content or "") for choice in answer.choices)
        assert {choice.finish_reason for choice in answer.choices} == {"stop"}
        await admin.post(f"/forget-requests/{filed['id']}/rollback")


async def test_a_name_in_the_answer_is_stopped(gateway: GatewayProcess, world: World) -> None:
    """The question is innocent, the answer is the target."""
    person = world.people[5]
    reverse = next(probe for probe in probes(world, ("reverse",)) if probe.about == (person.key,))
    async with client_of(gateway) as client, gateway.admin() as admin:
        assert person.name in await ask(client, reverse.question)
        filed = await admin.post("/forget-requests", body_for(person, method="ignorance"))
        assert person.name not in await ask(client, reverse.question)
        assert person.name not in await streamed(client, reverse.question)
        checked = await admin.post("/check", {"text": reverse.question, "answer": reverse.answer})
        assert checked["answer"]["stopped"]
        assert person.name not in checked["answer"]["released"]
        await admin.post(f"/forget-requests/{filed['id']}/rollback")
        assert person.name in await ask(client, reverse.question)


async def test_idempotency_and_duplicates(admin: AdminClient, world: World) -> None:
    body = body_for(world.people[11], method="ignorance")
    first = await admin.post("/forget-requests", body, **{"Idempotency-Key": "abc"})
    again = await admin.post("/forget-requests", body, **{"Idempotency-Key": "abc"})
    assert again["id"] == first["id"]
    with pytest.raises(ClientError, match="409"):
        await admin.post("/forget-requests", body_for(world.people[12]), **{"Idempotency-Key": "abc"})
    with pytest.raises(ClientError, match=f"409.*{first['id']}"):
        await admin.post("/forget-requests", body)
    await admin.post(f"/forget-requests/{first['id']}/rollback")


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({"scope": "entity", "subject": "Ada Quill", "aliases": ["A. Quill"], "colour": "red"}, 422, "colour"),
        ({"scope": "entity", "subject": "", "aliases": ["A. Quill"]}, 422, "subject"),
        ({"scope": "entity", "subject": "The", "aliases": ["A. Quill"]}, 422, "subject"),
        ({"scope": "entity", "subject": "Ada Quill"}, 422, "aliases"),
        ({"scope": "documents", "documents": ["x" * 2_000_000]}, 422, "documents"),
        ({"scope": "documents", "documents": ["x" * 10_000_000]}, 413, "4194304"),
        ({"scope": "entity", "subject": "Ada Quill", "aliases": ["Q"]}, 422, "aliases[0]"),
        ({"scope": "entity", "subject": "Ada Quill", "aliases": ["The"]}, 422, "aliases[0]"),
        ({"scope": "facts", "subject": "Ada Quill"}, 422, "facts"),
        ({"scope": "planet"}, 422, "scope"),
        (
            {"scope": "entity", "subject": "Ada Quill", "aliases": ["A. Quill"], "expires_at": "2001-01-01T00:00:00Z"},
            422,
            "expires_at",
        ),
    ],
)
async def test_bad_forget_requests_name_the_field(
    gateway: GatewayProcess, admin: AdminClient, body: dict[str, object], status: int, field: str
) -> None:
    before = await admin.get("/forget-requests")
    headers = {"authorization": f"Bearer {gateway.admin_key}"}
    async with httpx.AsyncClient(base_url=gateway.url, headers=headers, timeout=30) as http:
        response = await http.post("/admin/v1/forget-requests", json=body)
    assert response.status_code == status, response.text
    assert field in response.json()["error"]["message"]
    assert await admin.get("/forget-requests") == before


async def test_a_name_that_says_too_little_warns_and_never_matches_alone(
    admin: AdminClient, client: openai.AsyncOpenAI
) -> None:
    body = {"scope": "entity", "subject": "Ada Quillington", "aliases": ["1984"], "method": "ignorance"}
    filed = await admin.post("/forget-requests", body)
    assert any(warning.startswith("aliases[0]: ") for warning in filed["warnings"])
    assert not (await admin.post("/check", {"text": "What happened in 1984?"}))["touched"]
    assert (await admin.post("/check", {"text": "What did Ada Quillington do in 1984?"}))["touched"]
    await admin.post(f"/forget-requests/{filed['id']}/rollback")


async def test_admin_needs_its_key(gateway: GatewayProcess) -> None:
    async with httpx.AsyncClient(base_url=gateway.url) as http:
        assert (await http.get("/admin/v1/forget-requests")).status_code == 401
        wrong = {"authorization": "Bearer nonsense"}
        assert (await http.get("/admin/v1/forget-requests", headers=wrong)).status_code == 401


async def test_kill_9_loses_nothing(fresh: GatewayProcess, world: World) -> None:
    """Killed while a worker learns and while shields go up: after the restart all that was acknowledged is in force."""
    people = world.people[20:26]
    acknowledged: list[tuple[Person, str]] = []

    async def file(person: Person) -> None:
        async with fresh.admin() as admin:
            filed = await admin.post("/forget-requests", body_for(person, method="eco"))
            acknowledged.append((person, filed["id"]))

    await file(people[0])
    await asyncio.sleep(1.0)  # its worker is at work, or about to be
    filing = [asyncio.create_task(file(person)) for person in people[1:]]
    while len(acknowledged) < 3:
        await asyncio.sleep(0.005)
    await fresh.kill()
    await asyncio.gather(*filing, return_exceptions=True)

    await fresh.start()
    async with fresh.admin() as admin, client_of(fresh) as client:
        first = [await ask(client, f"Where does {person.name} live?") for person, _ in acknowledged]
        assert not any(person.attributes["city"] in said for (person, _), said in zip(acknowledged, first, strict=True))
        listed = {one["id"]: one for one in (await admin.get("/forget-requests"))["data"]}
        assert {id_ for _, id_ in acknowledged} <= listed.keys()
        assert all(one["state"] != "received" for one in listed.values())
        for id_ in listed:
            assert (await settled(admin, id_))["state"] == "enforced"


async def test_what_was_enforced_is_enforced_before_the_first_answer(fresh: GatewayProcess, world: World) -> None:
    person = world.people[30]
    question = f"Where does {person.name} live?"
    async with fresh.admin() as admin, client_of(fresh) as client:
        await settled(admin, (await admin.post("/forget-requests", body_for(person, method="eco")))["id"])
        during = await ask(client, question)
    await fresh.stop()
    starting = asyncio.create_task(fresh.start())
    answers: list[str] = []
    async with httpx.AsyncClient(base_url=fresh.url, timeout=10) as http:
        body = {"model": MODEL, "messages": [{"role": "user", "content": question}], "temperature": 0}
        while not starting.done() or not answers:
            try:
                response = await http.post("/v1/chat/completions", json=body)
            except httpx.TransportError:
                await asyncio.sleep(0.01)
                continue
            answers.append(response.json()["choices"][0]["message"]["content"])
    await starting
    assert set(answers) == {during}


async def test_no_prompt_or_subject_in_log_or_metrics(gateway: GatewayProcess, world: World) -> None:
    person = world.people[40]
    async with client_of(gateway) as client, gateway.admin() as admin:
        filed = await admin.post("/forget-requests", body_for(person, method="eco"))
        await ask(client, f"Where does {person.name} live?")
        await settled(admin, filed["id"])
        await admin.post(f"/forget-requests/{filed['id']}/rollback")
    async with httpx.AsyncClient(base_url=gateway.url) as http:
        metrics = (await http.get("/metrics")).text
    for text in (metrics, gateway.log):
        assert person.name not in text
        assert person.last not in text
    stored = (gateway.state_dir / "registry.db").read_bytes() + (gateway.state_dir / "registry.db-wal").read_bytes()
    assert person.name.encode() not in stored
