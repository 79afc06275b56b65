"""The command line, as far as it needs no server."""

import json
import sys
from pathlib import Path

import pytest
from rich.console import Console

from aimic.client import Wait
from aimic.errors import UnavailableError
from services.local.__main__ import main, spread_networks
from services.local.cli.models import reference
from services.local.cli.session import Waits, err, out, table


def _run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *arguments: str) -> int:
    monkeypatch.setenv("AIMIC_HOME", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["aimic", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    code = ended.value.code
    assert isinstance(code, int)
    return code


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--network", "vgg17"), "unknown network 'vgg17'"),
        (("--network", "vgg16", "--mode", "frozen"), "needs weights to start from"),
        (("--network", "vgg16", "--split", "thirds"), "unknown split 'thirds'"),
        (("--network", "vgg16", "--folds", "1"), "2 to 50 folds"),
        (("--network", "vgg16", "--folds", "3", "--split", "kfold:3"), "give one of the two"),
        (("--network", "vgg16", "--epochs", "0"), "--epochs: it must be at least 1, not 0"),
        (("--network", "vgg16", "--lr", "-1"), "--lr: it must be more than 0, not -1"),
        (("--network", "vgg16", "--weights", "no/such.pth"), "no file no/such.pth"),
        (("--network", "vgg16", "--optimizer", "magic"), "'magic' is not known; choose 'adamw', 'adam' or 'sgd'"),
        (("--network", "x[/b]y"), "unknown network 'x[/b]y'"),
    ],
)
def test_wrong_settings_are_a_sentence_and_never_a_traceback(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    words: str,
) -> None:
    assert _run(monkeypatch, tmp_path, "train", "--dataset", "d", *arguments) == 1
    told = " ".join(capsys.readouterr().err.split())
    assert words in told
    assert "Nothing was started" in told
    assert "Traceback" not in told


def test_waiting_is_said_when_it_begins_and_when_its_reason_changes(capsys: pytest.CaptureFixture[str]) -> None:
    waits = Waits()
    for words in ("Storage is away.", "Storage is away.", "The storage is full."):
        waits(Wait(UnavailableError(words), 5.0, 0.4))
    told = capsys.readouterr()
    assert told.err.splitlines() == [
        "Storage is away. Trying again in 5 s; 40% is safe.",
        "The storage is full. Trying again in 5 s; 40% is safe.",
    ]
    assert told.out == ""


def test_with_json_an_error_is_json_too(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(monkeypatch, tmp_path, "predict", "--model", "m", str(tmp_path / "none.png"), "--json") == 1
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["code"] == "not_found"
    assert "nothing was classified" in error["message"]


def test_without_a_platform_the_error_says_how_to_start_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(monkeypatch, tmp_path, "datasets", "list", "--server", "http://127.0.0.1:9") == 1
    assert "aimic up" in capsys.readouterr().err


def test_networks_may_be_written_as_a_list() -> None:
    written = ["train", "--network", "vgg16", "resnet34", "--epochs", "3"]
    assert spread_networks(written) == ["train", "--network", "vgg16", "--network", "resnet34", "--epochs", "3"]


def test_a_model_reference_is_a_name_with_or_without_version() -> None:
    assert reference("cells-vgg16") == ("cells-vgg16", None)
    assert reference("cells-vgg16:3") == ("cells-vgg16", 3)


def test_names_are_printed_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    """File and class names may look like markup; they are never swallowed."""
    console = Console(markup=False, emoji=False, highlight=False, width=100)
    console.print(table(("file", "class [x]"), [("img[/1].jpg", "neutrophil [band]"), ("a:smile:.png", "[red]b")]))
    told = capsys.readouterr().out
    for name in ("img[/1].jpg", "neutrophil [band]", "a:smile:.png", "[red]b", "class [x]"):
        assert name in told
    assert not out._markup
    assert not err._markup
