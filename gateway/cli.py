"""The `lethe` command. Exit codes: 0 done, 1 failed, 2 usage."""

import asyncio
import gc
import json
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from gateway.client import AdminClient
from gateway.settings import Settings, load
from guards.base import LetheError

app = typer.Typer(help="Lethe: a served model that behaves as if it had never seen it.", no_args_is_help=True)
forget = typer.Typer(help="Forget requests of a running gateway.", no_args_is_help=True)
app.add_typer(forget, name="forget")

_out = Console()
_err = Console(stderr=True)

Config = Annotated[
    Path | None, typer.Option("--config", help="Settings file; default: lethe.yaml, where there is one.")
]
Url = Annotated[str | None, typer.Option("--url", help="The gateway; default: as the settings say.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
RequestId = Annotated[str, typer.Argument(help="A forget request's id.", metavar="ID")]


def main() -> None:
    """Entry point: our errors end in one line and exit code 1."""
    try:
        app()
    except LetheError as error:
        _err.print(f"[red]lethe:[/red] {escape(str(error))}", highlight=False, soft_wrap=True)
        sys.exit(1)


@app.command()
def serve(
    config: Config = None,
    host: Annotated[str | None, typer.Option(help="Address to bind.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to bind; 0 takes a free one.")] = None,
) -> None:
    """Run the gateway; the first time, train the demo model that it serves."""
    gc.disable()  # what is imported from here on is never garbage; `gateway.serve` turns it on again when ready
    from gateway.serve import run

    run(load(config, host=host, port=port), _out)


@app.command()
def demo(config: Config = None) -> None:
    """Ask, forget, ask again: the whole story in a terminal. Exit status 0 only if it holds."""
    from gateway.demo.story import tell

    if not asyncio.run(tell(load(config), _out)):
        raise typer.Exit(1)


@app.command()
def check(
    text: Annotated[str, typer.Argument(help="A prompt.")],
    answer: Annotated[str | None, typer.Option(help="An answer to it: what would the output guard let out?")] = None,
    config: Config = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """The verdict on a prompt, with reasons, without inference."""
    body = {"text": text} | ({"answer": answer} if answer is not None else {})
    found = _asked(config, url, lambda client: client.post("/check", body))
    if as_json:
        _print_json(found)
        return
    _out.print(f"{'touched' if found['touched'] else 'not touched'}, plan [bold]{found['plan']}[/bold]")
    if found["requests"]:
        _out.print(
            _table(
                ("request", "guard", "score", "threshold"),
                [
                    (one["id"], one["guard"], f"{one['score']:.3f}", f"{one['threshold']:.3f}")
                    for one in found["requests"]
                ],
            )
        )
    if answer is not None:
        _out.print(
            f"answer {'stopped after' if found['answer']['stopped'] else 'released'}: {found['answer']['released']!r}",
            markup=False,
        )


@app.command()
def doctor(config: Config = None, as_json: AsJson = False) -> None:
    """Check settings, registry, encoder, index and engine; each failure with the command that mends it."""
    from gateway.doctor import examine

    findings = asyncio.run(examine(config))
    if as_json:
        _print_json([finding.as_dict() for finding in findings])
    else:
        for finding in findings:
            mark = "[green]ok[/green]  " if finding.ok else "[red]fail[/red]"
            _out.print(f"{mark} {finding.part}: {escape(finding.text)}", highlight=False)
            if finding.mend:
                _out.print(f"     mend it with: [bold]{escape(finding.mend)}[/bold]", highlight=False)
    if not all(finding.ok for finding in findings):
        raise typer.Exit(1)


@app.command()
def bench(
    name: Annotated[str, typer.Argument(help="Which one; `all` for all and the report, `report` for that alone.")],
    config: Config = None,
    quick: Annotated[bool, typer.Option(help="Fewer seeds and probes; figures are marked as quick.")] = False,
    model: Annotated[Path | None, typer.Option(help="tofu: a model that knows, in place of the trained one.")] = None,
    retain: Annotated[
        list[str] | None, typer.Option(help="tofu: SPLIT=FOLDER, one that never knew these; may be repeated.")
    ] = None,
    split: Annotated[
        list[str] | None, typer.Option(help="tofu: forget01, forget05 or forget10 alone; may be repeated.")
    ] = None,
    row: Annotated[
        list[str] | None,
        typer.Option(
            help="tofu: prompt, npo, ignorance, eco, uld or o3 alone, beside full and retain; may be repeated."
        ),
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(min=1, max=3, help="tofu, leak, muse, uld, wmdp: how many of three seeds or sets.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Measure what we claim; writes bench/results/NAME.json and prints a table."""
    from importlib import import_module

    # the one import against the stream: bench builds on gateway, and only this command starts it
    runner = import_module("bench.run")
    part = {"model": model, "retain": retain or (), "splits": split or (), "rows": row or (), "seeds": seeds}
    if not runner.run(name, load(config), quick=quick, as_json=as_json, console=_out, **part):
        raise typer.Exit(1)


@forget.command("add")
def forget_add(
    subject: Annotated[str | None, typer.Argument(help="The name of an entity or topic.")] = None,
    scope: Annotated[str, typer.Option(help="entity, facts, documents or topic.")] = "entity",
    alias: Annotated[list[str] | None, typer.Option(help="Another name; may be repeated.")] = None,
    example: Annotated[list[str] | None, typer.Option(help="A question that touches it; may be repeated.")] = None,
    method: Annotated[str, typer.Option(help="auto, eco, uld, o3 or ignorance.")] = "auto",
    reference: Annotated[str | None, typer.Option(help="Your own reference, such as a ticket.")] = None,
    file: Annotated[Path | None, typer.Option("--file", help="A whole body as JSON; the options add to it.")] = None,
    config: Config = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """File a forget request; shielded when this returns."""
    body: dict[str, Any] = {"scope": scope, "method": method}
    if file:
        try:
            body |= dict(json.loads(file.read_text()))
        except (OSError, ValueError, TypeError):
            raise typer.BadParameter(f"{file} is not a readable JSON file", param_hint="--file") from None
    given = {"subject": subject, "aliases": alias, "examples": example, "reference": reference}
    body |= {key: value for key, value in given.items() if value}
    _show(_asked(config, url, lambda client: client.post("/forget-requests", body)), as_json)


@forget.command("list")
def forget_list(
    state: Annotated[str | None, typer.Option(help="Only requests in this state.")] = None,
    config: Config = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """All forget requests, newest first."""

    async def every(client: AdminClient) -> list[Any]:
        items: list[Any] = []
        cursor = None
        while True:
            params = {key: value for key, value in {"state": state, "cursor": cursor}.items() if value}
            page = await client.get("/forget-requests", params)
            items += page["data"]
            if (cursor := page.get("next_cursor")) is None:
                return items

    rows = _asked(config, url, every)
    if as_json:
        _print_json(rows)
        return
    _out.print(
        _table(
            ("id", "subject", "scope", "state", "method", "created"),
            [
                (
                    one["id"],
                    one["subject"] or one["reference"] or "-",
                    one["scope"],
                    one["state"],
                    one["method"] or "-",
                    one["created_at"][:19],
                )
                for one in rows
            ],
        )
    )


@forget.command("show")
def forget_show(id_: RequestId, config: Config = None, url: Url = None, as_json: AsJson = False) -> None:
    """One forget request."""
    _show(_asked(config, url, lambda client: client.get(f"/forget-requests/{id_}")), as_json)


def _move(verb: str) -> Any:
    def command(id_: RequestId, config: Config = None, url: Url = None, as_json: AsJson = False) -> None:
        _show(_asked(config, url, lambda client: client.post(f"/forget-requests/{id_}/{verb}")), as_json)

    return command


forget.command("verify", help="Probe it again through the real path.")(_move("verify"))
forget.command("retire", help="End it; the gateway is then as if it had never had it.")(_move("retire"))
forget.command("rollback", help="Take it back; likewise.")(_move("rollback"))


def _asked(config: Path | None, url: str | None, ask: "Any") -> Any:
    async def go(settings: Settings) -> Any:
        async with AdminClient.of(settings, url) as client:
            return await ask(client)

    work: Coroutine[Any, Any, Any] = go(load(config))
    return asyncio.run(work)


def _show(resource: Any, as_json: bool) -> None:
    if as_json:
        _print_json(resource)
        return
    _out.print(
        f"[bold]{resource['id']}[/bold]  {resource['scope']}  {resource['state']}, by {resource['method'] or '-'}"
    )
    for warning in resource.get("warnings", ()):
        _out.print(f"[yellow]warning[/yellow] {escape(warning)}", highlight=False)
    if resource.get("error"):
        _out.print(f"[red]error[/red] {escape(resource['error'])}", highlight=False)


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> Table:
    table = Table(box=None, pad_edge=False)
    for place, title in enumerate(head):  # the first is to be copied whole
        table.add_column(title, min_width=max((len(row[0]) for row in rows), default=0) if place == 0 else None)
    for row in rows:
        table.add_row(*row)
    return table


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False))


if __name__ == "__main__":
    main()
