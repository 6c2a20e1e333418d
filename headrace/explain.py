"""`headrace explain`: candidates, joules, guard values and reasons, from a running router."""

import argparse
import json
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from headrace.config_errors import BadInputError

_TIMEOUT_SECONDS = 5.0
_COLUMNS = (
    ("replica", "address", "{}"),
    ("backend", "backend", "{}"),
    ("in set", "committed", "{}"),
    ("running", "running", "{:.0f}"),
    ("merit J", "merit_joules", "{:.1f}"),
    ("marginal J", "marginal_joules", "{:.1f}"),
    ("TPOT ms", "predicted_tpot_seconds", "{:.1f}"),
    ("TTFT ms", "predicted_ttft_seconds", "{:.0f}"),
    ("KV", "predicted_kv_ratio", "{:.0%}"),
    ("of limit", "lateness_ratio", "{:.0%}"),
    ("verdict", "verdict", "{}"),
)
_MILLISECONDS = ("predicted_tpot_seconds", "predicted_ttft_seconds")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--last", type=int, metavar="N", help="the last N decisions (default 1)")
    what.add_argument(
        "--request", type=Path, metavar="FILE", help="where this request body would go now"
    )
    parser.add_argument(
        "--path", default="/v1/chat/completions", help="the path it would be sent to"
    )
    parser.add_argument(
        "--admin", default="http://127.0.0.1:9090", metavar="URL", help="the router's admin port"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")


def run(args: argparse.Namespace) -> int:
    """Ask the router and print."""
    if args.request is not None:
        answer = _ask(args, f"/debug/explain?path={urllib.parse.quote(args.path)}", _body(args))
        shown = [answer]
    else:
        count = 1 if args.last is None else args.last
        if count < 1:
            raise BadInputError(f"explain: --last must be 1 or more, got {count}.")
        answer = _ask(args, f"/debug/picks?last={count}", None)
        shown = answer["picks"]
    if args.json:
        print(json.dumps(answer, indent=2))
        return 0
    console = Console()
    for item in shown:
        _print(console, item)
    if not shown:
        console.print("The router has not decided anything yet.")
    return 0


def _body(args: argparse.Namespace) -> bytes:
    try:
        return bytes(args.request.read_bytes())
    except OSError as error:
        raise BadInputError(f"{args.request}: cannot be read: {error.strerror}.") from error


def _ask(args: argparse.Namespace, path: str, body: bytes | None) -> Any:
    url = args.admin.rstrip("/") + path
    if not url.startswith(("http://", "https://")):
        raise BadInputError(f"explain: --admin must be an http:// URL, got {args.admin!r}.")
    request = urllib.request.Request(url, data=body)  # noqa: S310 - the scheme was checked above
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS) as answer:  # noqa: S310 - as above
            return json.load(answer)
    except urllib.error.HTTPError as error:
        raise BadInputError(f"explain: {_refusal(error)}") from error
    except OSError as error:
        raise BadInputError(f"explain: no router answers at {args.admin}: {error}.") from error


def _refusal(error: urllib.error.HTTPError) -> str:
    """The router's own sentence where it gave one."""
    try:
        problem = json.load(error)["error"]
        return str(problem["message"] if isinstance(problem, dict) else problem)
    except (ValueError, KeyError, TypeError):
        return f"the router answered {error.code}."


def _print(console: Console, item: dict[str, Any]) -> None:
    explanation = item.get("explanation", item)
    if "candidates" not in explanation:
        chosen = item.get("address", "nowhere")
        console.print(
            f"model {item['model']} -> {chosen} ({item['reason']}); not sampled for explanation"
        )
        return
    table = Table(
        title=f"{explanation['model']}: {explanation['prompt_tokens']:.0f} prompt tokens, "
        f"{explanation['output_tokens']:.0f} expected -> {explanation['chosen']} "
        f"({explanation['policy']}: {explanation['reason']})",
        title_justify="left",
    )
    for title, _, _ in _COLUMNS:
        table.add_column(title, justify="left" if title in ("replica", "verdict") else "right")
    for candidate in explanation["candidates"]:
        table.add_row(*(_cell(candidate, key, form) for _, key, form in _COLUMNS))
    console.print(table)


def _cell(candidate: dict[str, Any], key: str, form: str) -> str:
    value = candidate[key]
    if value is None:
        return "-"
    if key in _MILLISECONDS:
        value *= 1000.0
    if isinstance(value, bool):
        value = "yes" if value else "no"
    return form.format(value)
