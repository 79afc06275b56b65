"""`aimic predict` against a service in the same process: very many files, Ctrl-C, a service that goes away."""

import csv
import errno
import json
import os
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from aimic.client import AsyncClient, Retry, predict_images
from services.local.__main__ import main
from services.local.cli import answers, classifying, predict


class Service:
    """Answers every image but those named bad…; `first` is called with the number of each request before."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.paths: list[str] = []
        self.first: Callable[[int], Exception | None] = lambda _: None

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        names = [n.decode() for n in re.findall(rb'filename="([^"]+)"', await request.aread())]
        self.asked += names
        self.paths.append(request.url.path)
        fault = self.first(len(self.paths))
        if fault is not None:
            raise fault
        answer = {"label": "a", "probabilities": {"a": 0.9, "b": 0.1}, "model": "m", "version": 1,
                  "bundle_hash": "h", "executor": "e", "request_id": "r"}  # fmt: skip
        bad = {"error": {"code": "unreadable_image", "message": "No image."}}
        results = [
            {"index": i, "name": n, **(bad if n.startswith("bad") else {"answer": answer})} for i, n in enumerate(names)
        ]
        body = {"model": "m", "version": 1, "request_id": "r", "results": results}
        return httpx.Response(200, json=body)


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Service:
    made = Service()

    def connect(_: str | None) -> AsyncClient:
        http = httpx.AsyncClient(transport=httpx.MockTransport(made))
        return AsyncClient("http://aimic.test", retry=Retry(first_s=0.01, longest_s=0.02), http=http)

    monkeypatch.setattr(predict, "connect_async", connect)
    monkeypatch.setattr(predict_images, "BATCH_IMAGES", 2)
    return made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "cells"
    place.mkdir()
    for number in range(20):
        (place / f"{number:02}.png").write_bytes(b"x")
    return place


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., int]:
    def run(*arguments: object) -> int:
        monkeypatch.setenv("AIMIC_HOME", str(tmp_path))
        monkeypatch.setattr(sys, "argv", ["aimic", "predict", *map(str, arguments)])
        try:
            main()
        except SystemExit as ended:
            return int(ended.code or 0)
        return 0

    return run


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_file_has_a_row_in_order(service: Service, folder: Path, run: Callable[..., int], tmp_path: Path) -> None:
    (folder / "bad.txt").write_text("x")
    path = tmp_path / "answers.csv"
    assert run("--model", "m", folder, "--csv", path) == 0
    said = rows(path)
    assert [Path(row["file"]).name for row in said] == [f"{number:02}.png" for number in range(20)] + ["bad.txt"]
    assert [row["error"] for row in said] == [""] * 20 + ["No image."]


def test_ctrl_c_keeps_what_is_answered_and_resuming_asks_for_the_rest(
    service: Service, folder: Path, run: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "answers.csv"
    (folder / "00bad.txt").write_text("x")

    def interrupt(number: int) -> None:
        if number == 4:
            os.kill(os.getpid(), signal.SIGINT)

    service.first = interrupt
    assert run("--model", "m", folder, "--csv", path) == 130
    told = " ".join(capsys.readouterr().err.split())
    done = [row["file"] for row in rows(path)]
    assert 2 <= len(done) < 20
    assert done == [str(file) for file in sorted(folder.iterdir())][: len(done)]
    assert f"{len(done)} of 21 images were asked about and are kept; the same command with --resume" in told

    service.first = lambda _: None
    service.asked.clear()
    service.paths.clear()
    assert run("--model", "m", folder, "--csv", path, "--resume") == 0
    assert set(service.paths) == {"/inference/v1/models/m/versions/1/predict"}
    assert not {Path(file).name for file in done if not file.endswith("00bad.txt")} & set(service.asked)
    assert sorted(row["file"] for row in rows(path)) == [str(file) for file in sorted(folder.iterdir())]

    service.asked.clear()
    (folder / "00bad.txt").unlink()
    assert run("--model", "m", folder, "--csv", path, "--resume") == 0
    assert service.asked == []


def test_a_service_that_goes_away_ends_it_with_what_was_kept(
    service: Service,
    folder: Path,
    run: Callable[..., int],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(predict, "PATIENCE_S", 1.0)
    monkeypatch.setattr(predict, "_DEADLINE_S", 1.0)
    service.first = lambda number: httpx.ConnectError("refused") if number > 3 else None
    assert run("--model", "m", folder, "--csv", tmp_path / "answers.csv", "--json") == 1
    told = json.loads(capsys.readouterr().out)
    assert "isn't running" in told["stopped"]
    assert len(told["results"]) == len(rows(tmp_path / "answers.csv")) >= 6
    assert (told["model"], told["version"]) == ("m", 1)


def test_a_service_that_is_not_there_is_an_error_and_leaves_the_file(
    service: Service,
    folder: Path,
    run: Callable[..., int],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(predict, "PATIENCE_S", 0.5)
    monkeypatch.setattr(predict, "_DEADLINE_S", 0.5)
    (tmp_path / "answers.csv").write_text("of yesterday")
    service.first = lambda _: httpx.ConnectError("refused")
    assert run("--model", "m", folder, "--csv", tmp_path / "answers.csv", "--json") == 1
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "unavailable"
    assert (tmp_path / "answers.csv").read_text() == "of yesterday"


def test_few_images_are_shown_each_and_very_many_are_counted(
    service: Service,
    folder: Path,
    run: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (folder / "bad.txt").write_text("x")
    assert run("--model", "m", folder) == 0
    told = capsys.readouterr().out
    assert "m:1, 21 of 21 images" in told and "1 not classified" in told
    assert "07.png" in told and "a 0.900, b 0.100" in told
    monkeypatch.setattr(classifying, "SHOWN", 5)
    assert run("--model", "m", folder) == 0
    told = capsys.readouterr().out
    assert "07.png" not in told
    assert re.search(r"^a +20 *$", told, flags=re.MULTILINE)
    assert "Not classified: 1" in told and re.search(r"bad.txt +No image", told)


def test_progress_is_lines_where_there_is_no_terminal(
    service: Service,
    folder: Path,
    run: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(classifying, "_LINE_S", 0.0)
    assert run("--model", "m", folder) == 0
    told = capsys.readouterr().err
    assert re.search(r"^10 of 20 images, \d+ images/s, about \d+ s left$", told, flags=re.MULTILINE)


def test_nothing_that_could_be_read_is_an_error(
    service: Service, run: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(3):
        (tmp_path / f"bad{number}.png").write_bytes(b"x")
    assert run("--model", "m", *sorted(tmp_path.glob("*.png")), "--csv", tmp_path / "a.csv", "--json") == 1
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["code"] == "unreadable_image"
    assert error["message"] == "None of the 3 images was classified. The first, bad0.png: No image."
    assert [row["error"] for row in rows(tmp_path / "a.csv")] == ["No image."] * 3


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--resume",), "give it by --csv"),
        (("--csv", "no/such/folder/a.csv"), "there is no folder"),
        (("--csv", "{}"), "can't be written (Is a directory). Nothing was classified."),
        (("--csv", "/proc/a.csv"), "can't be written"),
        (("--csv", "{}/old.csv", "--resume", "--model", "m:2"), "has answers of m:1"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_asked(
    service: Service,
    folder: Path,
    run: Callable[..., int],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    words: str,
) -> None:
    run("--model", "m", folder, "--csv", tmp_path / "old.csv")
    service.asked.clear()
    capsys.readouterr()
    assert run("--model", "m", folder, *(argument.format(tmp_path) for argument in arguments)) == 1
    assert words in " ".join(capsys.readouterr().err.split())
    assert service.asked == []


def test_the_answers_are_not_among_the_images(service: Service, folder: Path, run: Callable[..., int]) -> None:
    assert run("--model", "m", folder, "--csv", folder / "answers.csv") == 0
    assert run("--model", "m", folder, "--csv", folder / "answers.csv", "--resume") == 0
    assert "answers.csv" not in service.asked


def test_a_disk_that_fills_up_is_told_with_what_was_kept(
    service: Service,
    folder: Path,
    run: Callable[..., int],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = tmp_path / "answers.csv"
    real = answers._row

    def row(file: Path, *more: Any) -> list[object]:
        if file.name == "07.png":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(file, *more)

    monkeypatch.setattr(answers, "_row", row)
    assert run("--model", "m", folder, "--csv", path) == 1
    told = " ".join(capsys.readouterr().err.split())
    assert "can't be written any more (No space left on device). The rows before are kept." in told
    assert "7 of 20 images were asked about and are kept; the same command with --resume asks for the others" in told
    assert [Path(row["file"]).name for row in rows(path)] == [f"{number:02}.png" for number in range(7)]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a file on which every write finds the disk full")
@pytest.mark.parametrize("name", ["a.png", "bad.txt"])
def test_a_disk_that_is_full_from_the_start_is_an_error_in_words(
    service: Service, run: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    (tmp_path / name).write_bytes(b"x")
    assert run("--model", "m", tmp_path / name, "--csv", "/dev/full") == 1
    assert "/dev/full can't be written any more (No space left on device)" in " ".join(capsys.readouterr().err.split())
