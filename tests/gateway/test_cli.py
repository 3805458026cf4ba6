import json
import os
import sys

import pytest
from typer.testing import CliRunner

from gateway import cli
from gateway.client import ClientError
from gateway.doctor import Finding

REQUEST = {
    "id": "fr_1",
    "scope": "entity",
    "state": "shielded",
    "method": "ignorance",
    "created_at": "2030-01-01T00:00:00Z",
    "warnings": ["aliases[0]: says [little]"],
    "error": None,
}


class FakeAdmin:
    """A running gateway: answers by method and path, remembers what was asked."""

    def __init__(self):
        self.asked = []
        self.answers = {}

    def of(self, settings, url=None):
        self.url = url
        return self

    async def __aenter__(self):
        return self

    async def __aexit__(self, *error):
        return None

    async def get(self, path, params=None):
        return self._answer("GET", path, params)

    async def post(self, path, body=None, **headers):
        return self._answer("POST", path, body)

    def _answer(self, method, path, body):
        self.asked.append((method, path, body))
        answer = self.answers[method, path]
        found = answer.pop(0) if isinstance(answer, list) else answer
        if isinstance(found, Exception):
            raise found
        return found


@pytest.fixture
def admin(monkeypatch, tmp_path):
    fake = FakeAdmin()
    monkeypatch.setattr(cli, "AdminClient", fake)
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("LETHE_")]:
        monkeypatch.delenv(name)
    return fake


@pytest.fixture
def lethe(admin, monkeypatch, capsys):
    """Runs a command line through the entry point: exit code, output, errors."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["lethe", *arguments])
        for console in (cli._out, cli._err):
            monkeypatch.setattr(console, "_width", 200)
        with pytest.raises(SystemExit) as ended:
            cli.main()  # typer ends every command so
        shown = capsys.readouterr()
        return ended.value.code or 0, shown.out, shown.err

    return run


def test_every_command_helps():
    runner = CliRunner()
    for command in ([], ["serve"], ["demo"], ["check"], ["doctor"], ["bench"], ["forget"], ["forget", "add"]):
        assert runner.invoke(cli.app, [*command, "--help"]).exit_code == 0


@pytest.mark.parametrize("arguments", [["nonsense"], ["check"], ["serve", "--port", "x"], ["forget", "show"]])
def test_usage_is_two(lethe, arguments):
    assert lethe(*arguments)[0] == 2


def test_our_errors_are_one_line_and_one(lethe, admin):
    admin.answers["GET", "/forget-requests/fr_1"] = ClientError("404: No such [forget] request [/x].")
    code, out, err = lethe("forget", "show", "fr_1")
    assert (code, out) == (1, "")
    assert err == "lethe: 404: No such [forget] request [/x].\n"


def test_bad_settings_are_one(lethe, tmp_path):
    (tmp_path / "lethe.yaml").write_text("prot: 1")
    code, _, err = lethe("forget", "list")
    assert code == 1
    assert "prot" in err


def test_filing(lethe, admin):
    admin.answers["POST", "/forget-requests"] = REQUEST
    code, out, _ = lethe("forget", "add", "Ada Quill", "--alias", "Ada", "--alias", "AQ", "--url", "http://there")
    assert code == 0
    assert admin.asked[0][2] == {"scope": "entity", "method": "auto", "subject": "Ada Quill", "aliases": ["Ada", "AQ"]}
    assert admin.url == "http://there"
    assert "fr_1" in out
    assert "aliases[0]: says [little]" in out


def test_filing_a_file(lethe, admin, tmp_path):
    admin.answers["POST", "/forget-requests"] = REQUEST
    body = {"scope": "facts", "facts": [{"question": "q", "answer": "a"}]}
    (tmp_path / "body.json").write_text(json.dumps(body))
    assert lethe("forget", "add", "--file", "body.json", "--reference", "T-1", "--json")[0] == 0
    assert admin.asked[0][2] == {**body, "method": "auto", "reference": "T-1"}


@pytest.mark.parametrize("content", ["{", "[1, 2]", "3", '"text"', None])
def test_a_file_that_is_no_body_is_usage(lethe, tmp_path, content):
    if content is not None:
        (tmp_path / "body.json").write_text(content)
    assert lethe("forget", "add", "--file", "body.json")[0] == 2


def test_every_page_is_listed(lethe, admin):
    pages = [{"data": [REQUEST], "next_cursor": "c"}, {"data": [{**REQUEST, "id": "fr_2"}], "next_cursor": None}]
    admin.answers["GET", "/forget-requests"] = pages
    code, out, _ = lethe("forget", "list", "--state", "shielded", "--json")
    assert code == 0
    assert [one["id"] for one in json.loads(out)] == ["fr_1", "fr_2"]
    assert [asked[2] for asked in admin.asked] == [{"state": "shielded"}, {"state": "shielded", "cursor": "c"}]


@pytest.mark.parametrize("verb", ["verify", "retire", "rollback"])
def test_moves(lethe, admin, verb):
    admin.answers["POST", f"/forget-requests/fr_1/{verb}"] = {**REQUEST, "error": "of [its] own"}
    code, out, _ = lethe("forget", verb, "fr_1")
    assert code == 0
    assert "of [its] own" in out


def test_check(lethe, admin):
    admin.answers["POST", "/check"] = {
        "touched": True,
        "plan": "ignorance",
        "requests": [{"id": "fr_1", "guard": "lexicon", "score": 1.0, "threshold": 0.5}],
        "answer": {"stopped": True, "released": "It [/b] was "},
    }
    code, out, _ = lethe("check", "Who is Ada?", "--answer", "It [/b] was Ada.")
    assert code == 0
    assert admin.asked[0][2] == {"text": "Who is Ada?", "answer": "It [/b] was Ada."}
    assert "touched, plan ignorance" in out
    assert "lexicon" in out
    assert "stopped after: 'It [/b] was '" in out


def test_doctor_shows_what_mends_each_failure(lethe, monkeypatch):
    async def examine(config):
        return [Finding("settings", True, "fine"), Finding("encoder", False, "no [x]", "pip install '.[cpu]'")]

    monkeypatch.setattr("gateway.doctor.examine", examine)
    code, out, _ = lethe("doctor")
    assert code == 1
    assert "no [x]" in out
    assert "pip install '.[cpu]'" in out
    code, out, _ = lethe("doctor", "--json")
    assert (code, [item["ok"] for item in json.loads(out)]) == (1, [True, False])


def test_demo_fails_where_the_story_does_not_hold(lethe, monkeypatch):
    for holds, expected in [(True, 0), (False, 1)]:

        async def tell(settings, console, holds=holds):
            return holds

        monkeypatch.setattr("gateway.demo.story.tell", tell)
        assert lethe("demo")[0] == expected


def test_serve_takes_host_and_port(lethe, monkeypatch):
    ran = []
    monkeypatch.setattr("gateway.serve.run", lambda settings, console: ran.append(settings))
    monkeypatch.setenv("LETHE_PORT", "1")
    assert lethe("serve", "--port", "2", "--host", "::1")[0] == 0
    assert (ran[0].port, ran[0].host) == (2, "::1")
    assert lethe("serve", "--host", "0.0.0.0")[0] == 1
