"""What every command shares: the options, the client, and two ways to show a result."""

import json
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Any

import typer
from pydantic import BaseModel
from rich.console import Console
from rich.table import Table

from aimic.client import DEFAULT_SERVER, AsyncClient, Client, Retry, Wait
from services.local.lock import read_holder
from services.local.settings import LocalSettings

Server = Annotated[
    str | None, typer.Option(help="Address of the platform; without it the one running on this home, or port 8080.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs instead of tables for people.")]

out = Console(highlight=False, markup=False, emoji=False, width=None if sys.stdout.isatty() else 200)
"""Results. Standard output carries nothing else, so that `--json` can be piped. No markup: names of files and
classes are printed as they are, `[band]` included."""
err = Console(stderr=True, highlight=False, markup=False, emoji=False)
"""Progress and errors."""
PATIENCE_S = 300.0
"""Seconds for which a command waits for a platform that asks it to come again, before it gives up."""
SAY_AGAIN_S = 30.0


def connect(server: str | None) -> Client:
    """A client for `--server`, the platform running on this home, or the default address."""
    address, key = _where(server)
    return Client(address, key, retry=Retry(patience_s=PATIENCE_S, waiting=Waits()))


def connect_async(server: str | None) -> AsyncClient:
    """The same for predictions of many images."""
    address, key = _where(server)
    return AsyncClient(address, key, retry=Retry(waiting=Waits()))


def _where(server: str | None) -> tuple[str, str | None]:
    settings = LocalSettings()
    address = server or settings.server
    if address is None:
        holder = read_holder(settings.lock_file) or {}
        address = str(holder.get("url") or DEFAULT_SERVER)
    return address, settings.key()


class Waits:
    """Says on standard error what is waited for: when that changes, and now and then."""

    def __init__(self) -> None:
        self._said = ""
        self._at = 0.0

    def __call__(self, wait: Wait) -> None:
        """Before each wait."""
        if wait.error.message != self._said or time.monotonic() - self._at > SAY_AGAIN_S:
            self._said, self._at = wait.error.message, time.monotonic()
            err.print(wait.words, soft_wrap=True)


def show(as_json: bool, value: Any, for_people: Callable[[], Any]) -> None:
    """Print `value` as JSON, or what `for_people()` makes of it."""
    if as_json:
        typer.echo(json.dumps(plain(value), indent=2, ensure_ascii=False))
    else:
        out.print(for_people())


def plain(value: Any) -> Any:
    """Pydantic values as JSON-ready data, also inside lists and dictionaries."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def table(headings: Sequence[str], rows: Iterable[Sequence[object]], title: str | None = None) -> Table:
    """A plain table; numbers should come formatted."""
    made = Table(title=title, box=None, pad_edge=False, title_justify="left")
    for heading in headings:
        # Folded, never cut: an id with its end missing can't be used.
        made.add_column(heading, overflow="fold")
    for row in rows:
        made.add_row(*(str(cell) for cell in row))
    return made


def number(value: float | None, digits: int = 4) -> str:
    """A number with `digits` decimals, a dash for an absent one."""
    return "–" if value is None else f"{value:.{digits}f}"
