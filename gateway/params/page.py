"""`docs/parameters.md`: the table as a page. `python -m gateway.params.page > docs/parameters.md` writes it."""

import sys

from gateway.params.table import CHAT, COMPLETIONS, EMBEDDINGS, RESPONSES, ROWS, Policy, Row

_SHORT = {CHAT: "chat", COMPLETIONS: "completions", RESPONSES: "responses", EMBEDDINGS: "embeddings"}
_MEANS = {
    Policy.PASS: "passed on, or kept here, once its type and range are checked",
    Policy.INSPECT: "what the model reads: so do the guards, every word of it",
    Policy.RESTRICT: "passed on, and where a question touches what is forgotten, beside another question alone",
    Policy.EVALUATE: "with a key for benchmarks as [their page](benchmarks-clients.md) says; refused to all others",
    Policy.REFUSE: "400 for everybody, with its name in `param`; null, empty or the default passes",
}
_HEAD = """\
# Parameters

Every parameter of the public API. Bodies are read by this table (`gateway/params/table.py`, which this page is made
from), checked, and made anew: nothing of a client's body is forwarded as it came, and what has no row is refused by
name. What the engine that is served does not honour is refused by name too, to everybody alike.
"""


def page() -> str:
    """The page as Markdown."""
    parts = [_HEAD]
    for policy in Policy:
        rows = sorted((row for row in ROWS if row.policy is policy), key=lambda row: row.name)
        lines = [_line(row) for row in rows]
        parts.append(
            f"## {policy}\n\n{_MEANS[policy].capitalize()}.\n\n| parameter | endpoints | remark |\n|---|---|---|\n"
        )
        parts.append("\n".join(lines) + "\n\n")
    return "\n".join(parts[:1]) + "\n" + "".join(parts[1:]).rstrip("\n") + "\n"


def _line(row: Row) -> str:
    places = ", ".join(short for endpoint, short in _SHORT.items() if endpoint in row.endpoints)
    return f"| `{row.name}` | {places} | {row.remark} |"


if __name__ == "__main__":
    sys.stdout.write(page())
