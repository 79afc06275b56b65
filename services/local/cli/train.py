"""`aimic train`: start a job, and watch it if wanted."""

from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from aimic.client import Client
from aimic.domain.job import JobRequest, TrainSettings
from aimic.domain.split import SplitRequest
from aimic.errors import InvalidInputError
from services.local.cli.jobs import finish, job_words
from services.local.cli.session import Json, Server, connect, show
from services.local.cli.watch import watch as watch_job


def train(  # noqa: PLR0913, PLR0917 - each is an option of the command
    dataset: Annotated[str, typer.Option(help="Data set to learn from.")],
    network: Annotated[list[str], typer.Option(help="One or more networks, such as mobilenet_v2; repeat or a,b.")],
    weights: Annotated[
        str, typer.Option(help="Start from: none, imagenet, a weights file, or a model's name.")
    ] = "none",
    mode: Annotated[str, typer.Option(help="full, frozen (head only), or last:N blocks.")] = "full",
    split: Annotated[str | None, typer.Option(help="kfold:K, holdout:F or column:NAME; kfold:5 by default.")] = None,
    folds: Annotated[int | None, typer.Option(help="Short for --split kfold:K.")] = None,
    lock_test: Annotated[float, typer.Option(help="Part of the images locked away as a test.")] = 0.0,
    protocol: Annotated[str, typer.Option(help="honest, or paper (best epoch on the held-out fold).")] = "honest",
    epochs: Annotated[int | None, typer.Option(help="Rounds through the images.")] = None,
    patience: Annotated[int | None, typer.Option(help="Stop after so many epochs without progress.")] = None,
    optimizer: Annotated[str | None, typer.Option(help="adamw, adam or sgd.")] = None,
    lr: Annotated[float | None, typer.Option(help="Highest learning rate.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images per step.")] = None,
    image_size: Annotated[int | None, typer.Option(help="Pixels a side.")] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same folds and weights.")] = 0,
    model: Annotated[str | None, typer.Option(help="Name of the model; DATASET-NETWORK by default.")] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Stay and show progress.")] = False,
    server: Server = None,
    as_json: Json = False,
) -> None:
    """Train and judge networks by cross-validation."""
    options = {
        "epochs": epochs, "patience": patience, "optimizer": optimizer, "lr": lr,
        "batch_size": batch_size, "image_size": image_size, "seed": seed, "protocol": protocol, "mode": mode,
    }  # fmt: skip
    networks = tuple(part for item in network for part in item.split(",") if part)
    asked = _split(split, folds, lock_test)
    with connect(server) as client:
        settings = _settings(options | {"networks": networks, "split": asked, "weights": _start(client, weights)})
        job = client.jobs.create(JobRequest(dataset=dataset, model=model, settings=settings))
        if watch:
            finish(client, watch_job(client, job.id, quiet=as_json), as_json)
            return
    show(as_json, job, lambda: job_words(job))


def _split(split: str | None, folds: int | None, lock_test: float) -> SplitRequest:
    if split is not None and folds is not None:
        raise InvalidInputError("--folds K is short for --split kfold:K; give one of the two. Nothing was started.")
    text = split or (f"kfold:{folds}" if folds is not None else "kfold:5")
    try:
        return SplitRequest.parse(text, lock_test)
    except ValidationError as error:
        raise _invalid(error, "--split") from None
    except ValueError as error:
        raise InvalidInputError(f"--split {text}: {error}. Nothing was started.") from None


def _settings(options: dict[str, Any]) -> TrainSettings:
    try:
        return TrainSettings(**options)
    except ValidationError as error:
        raise _invalid(error, "") from None


def _invalid(error: ValidationError, option: str) -> InvalidInputError:
    issues = []
    for issue in error.errors():
        name = option or "--" + "-".join(str(part) for part in issue["loc"]).replace("_", "-").replace(
            "networks", "network"
        )
        words = _words(issue)
        issues.append(f"{name}: {words}" if issue["loc"] or option else words)
    return InvalidInputError("; ".join(issues) + ". Nothing was started.")


def _words(issue: ErrorDetails) -> str:
    bounds = {
        "greater_than": ("more than", "gt"),
        "greater_than_equal": ("at least", "ge"),
        "less_than": ("less than", "lt"),
        "less_than_equal": ("at most", "le"),
    }
    if issue["type"] in bounds:
        words, bound = bounds[issue["type"]]
        return f"it must be {words} {issue['ctx'][bound]:g}, not {issue['input']:g}"
    if issue["type"] == "literal_error":
        return f"{issue['input']!r} is not known; choose {issue['ctx']['expected']}"
    return issue["msg"].removeprefix("Value error, ")


def _start(client: Client, weights: str) -> str:
    """The `weights` setting: a file is sent first; anything else that is no keyword names a model."""
    if weights in {"none", "imagenet"} or weights.startswith(("file:", "model:")):
        return weights
    if Path(weights).is_file():
        return client.weights.upload(Path(weights))
    if "/" in weights or weights.endswith((".pth", ".pt", ".safetensors")):
        raise InvalidInputError(f"--weights: there is no file {weights}. Nothing was started.")
    return f"model:{weights}"
