import os
import shutil
import stat
import sys
from pathlib import Path

import pytest

from bench.harness_client import ANSWERS, CHOICES, Client, HarnessError, cities, write_tasks
from gateway.demo.train import DEMO, ensure_model
from gateway.process import GatewayProcess

KEY, ASKED, FORGOTTEN = "evaluate-key", 12, 3
PROGRAM = shutil.which(os.environ.get("LM_EVAL", "lm_eval"))


def client_of(program, url="http://lethe"):
    return Client(Path(program), url, "lethe-demo", "/models/demo", KEY)


def program_of(folder, body):
    path = folder / "lm_eval"
    path.write_text(f"#!{sys.executable}\nimport json, os, pathlib, sys\n{body}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def test_every_row_has_the_right_city_among_others():
    world = DEMO.world()
    rows = list(cities(world))
    assert [row["name"] for row in rows] == [person.name for person in world.people]
    for person, row in zip(world.people, rows, strict=True):
        assert row["cities"][row["gold"]] == person.attributes["city"]
        assert len(set(row["cities"])) == 4
    assert {row["gold"] for row in rows} == {0, 1, 2, 3}
    assert rows == list(cities(world))


def test_a_likelihood_is_asked_for_in_text_and_the_key_is_on_no_command_line():
    client = client_of("lm_eval")
    asked = client.command([CHOICES], Path("out"), "--limit", "2")
    given = dict(pair.split("=", 1) for pair in asked[asked.index("--model_args") + 1].split(","))
    assert asked[asked.index("--model") + 1] == "local-completions"
    assert given["base_url"] == "http://lethe/v1/completions"
    assert (given["tokenized_requests"], given["tokenizer"]) == ("False", "/models/demo")
    assert asked[-2:] == ["--limit", "2"]
    chat = client.command([ANSWERS], Path("out"), chat=True)
    assert chat[chat.index("--model") + 1] == "local-chat-completions"
    assert "--apply_chat_template" in chat
    assert "tokenizer=" not in " ".join(chat)
    assert KEY not in " ".join((*asked, *chat, repr(client)))


async def test_results_and_samples_are_read_as_they_were_written(tmp_path):
    program = program_of(
        tmp_path,
        """
out = pathlib.Path(sys.argv[sys.argv.index("--output_path") + 1]) / "lethe-demo"
out.mkdir(parents=True)
(out / "results_2026-01-01.json").write_text(json.dumps({"results": {"key": os.environ["OPENAI_API_KEY"]}}))
(out / "samples_lethe_cities_2026-01-01.jsonl").write_text('{"acc": 1.0}\\n{"acc": 0.0}\\n')
(out / "samples_lethe_cities_chat_2026-01-01.jsonl").write_text('{"acc": 7.0}\\n')
""",
    )
    found = await client_of(program).run([CHOICES], tmp_path / "out")
    assert found["results"] == {"key": KEY}
    assert found["samples"] == {CHOICES: [{"acc": 1.0}, {"acc": 0.0}]}


@pytest.mark.parametrize("body", ["sys.exit('no such task')", "print('no such task', file=sys.stderr)"])
async def test_a_harness_that_fails_says_why(tmp_path, body):
    with pytest.raises(HarnessError, match="no such task"):
        await client_of(program_of(tmp_path, body)).run([CHOICES], tmp_path / "out")


@pytest.mark.slow
@pytest.mark.skipif(PROGRAM is None, reason="lm_eval is not installed; LM_EVAL says where it is")
async def test_the_harness_itself_before_and_after_people_are_forgotten(models_dir, tmp_path):
    folder, world = ensure_model(models_dir), DEMO.world()
    write_tasks(tmp_path / "tasks", world)
    more = ("--include_path", str(tmp_path / "tasks"), "--log_samples", "--limit", str(ASKED))
    names = {person.name for person in world.people[:FORGOTTEN]}
    settings = {"LETHE_EVALUATE_KEYS": KEY, "LETHE_API_KEYS": "client-key", "LETHE_JOBS__ENABLED": "false"}
    async with GatewayProcess(tmp_path / "state", models_dir, settings) as gateway, gateway.admin() as admin:
        client = Client(Path(str(PROGRAM)), gateway.url, "lethe-demo", str(folder), KEY)
        before = await client.run([CHOICES], tmp_path / "before", *more)
        for person in world.people[:FORGOTTEN]:
            body = {"scope": "entity", "subject": person.name, "aliases": list(person.aliases)}
            await admin.post("/forget-requests", body)
        after = await client.run([CHOICES], tmp_path / "after", *more)
        said = await client.run([ANSWERS], tmp_path / "said", *more, chat=True)
    assert before["results"][CHOICES]["acc,none"] >= 0.9
    was, now = ({one["doc"]["name"]: likelihoods(one) for one in run["samples"][CHOICES]} for run in (before, after))
    assert len(was) == ASKED
    for name in was.keys() - names:
        assert now[name] == pytest.approx(was[name], abs=1e-3)
    for name in names:  # told apart by their own words alone: as many tokens, as likely
        assert max(map(now[name].count, now[name])) > 1
        assert max(now[name]) < -2
    marked = {one["doc"]["name"]: one["exact_match"] for one in said["samples"][ANSWERS]}
    assert {name for name, mark in marked.items() if mark == 0} >= names
    assert sum(marked.values()) >= 0.8 * (ASKED - FORGOTTEN)


def likelihoods(sample):
    """Of every choice, as the harness summed them."""
    return [float(response[0][0]) for response in sample["resps"]]
