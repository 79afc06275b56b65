"""The `aimic` command: every error a sentence, never a traceback."""

import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from rich.text import Text

from aimic.errors import AimicError
from services.local.cli import datasets, jobs, models
from services.local.cli.doctor import doctor
from services.local.cli.models import evaluate
from services.local.cli.predict import predict
from services.local.cli.session import err, out
from services.local.cli.train import train
from services.local.settings import LocalSettings, Profile

app = typer.Typer(
    help="Train, judge and serve classifiers of cell images, without writing code.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(datasets.app, name="datasets")
app.add_typer(jobs.app, name="jobs")
app.add_typer(models.app, name="models")
for command in (train, predict, evaluate, doctor):
    app.command()(command)


ProfileOption = Annotated[
    Profile | None,
    typer.Option(help="local: files and SQLite (default). servers: PostgreSQL, Kafka and MinIO on this machine."),
]


@app.command()
def up(
    home: Annotated[Path | None, typer.Option(help="Where everything is kept; ~/.aimic by default.")] = None,
    port: Annotated[int | None, typer.Option(help="The one port for browsers and clients; 8080 by default.")] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on; beyond loopback only with a key.")] = None,
    profile: ProfileOption = None,
    trainers: Annotated[int | None, typer.Option(help="Trainers to run side by side; 1 by default.")] = None,
    ingests: Annotated[int | None, typer.Option(help="Ingests to run side by side (profile servers).")] = None,
) -> None:
    """Start the whole platform on this machine; Ctrl-C stops it."""
    from services.local.up import up as run

    given: dict[str, Any] = {"home": home, "port": port, "host": host}
    given |= {"profile": profile, "trainers": trainers, "ingests": ingests}
    run(LocalSettings(**{key: value for key, value in given.items() if value is not None}), out)


@app.command()
def demo(
    once: Annotated[bool, typer.Option("--once", help="End with the job's exit status instead of staying up.")] = False,
    home: Annotated[Path | None, typer.Option(help="Where everything is kept; ~/.aimic-demo by default.")] = None,
    profile: ProfileOption = None,
) -> None:
    """Start the platform on drawn images (no medical meaning) and carry one whole job through it."""
    from services.local.demo.run import run_demo

    chosen = profile or LocalSettings().profile
    default = Path.home() / (".aimic-demo" if chosen is Profile.LOCAL else f".aimic-demo-{chosen}")
    raise typer.Exit(run_demo(home or default, once, chosen))


def main() -> None:
    """Entry point of the `aimic` script."""
    sys.argv[1:] = spread_networks(sys.argv[1:])
    try:
        app()
    except AimicError as error:
        _fail(error.code, error.message)
    except ValidationError as error:
        words = "; ".join(issue["msg"].removeprefix("Value error, ") for issue in error.errors())
        _fail("invalid_input", f"{words}. Nothing was changed.")
    except KeyboardInterrupt:
        _fail("interrupted", "Stopped here. Work that was started on the platform goes on.", status=130)
    except Exception as error:  # the last line of defence: a person gets a sentence, the log the rest
        logging.getLogger(__name__).debug("unforeseen", exc_info=True)
        _fail("internal", f"This should not have happened ({type(error).__name__}: {error}). Please report it.")


def _fail(code: str, message: str, status: int = 1) -> None:
    if "--json" in sys.argv:
        typer.echo(json.dumps({"error": {"code": code, "message": message}}, ensure_ascii=False))
    else:
        err.print(Text.assemble(("Error: ", "red"), message))
    raise SystemExit(status)


def spread_networks(arguments: Sequence[str]) -> list[str]:
    """`--network a b` becomes `--network a --network b`, since people write lists both ways."""
    spread: list[str] = []
    inside = False
    for argument in arguments:
        if argument.startswith("-"):
            inside = argument == "--network"
        elif inside and spread[-1] != "--network":
            spread.append("--network")
        spread.append(argument)
    return spread


if __name__ == "__main__":
    main()
