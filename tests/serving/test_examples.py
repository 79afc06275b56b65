"""Every example of docs/clients.md, taken from the page as it stands and run against the real service."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from services.local.servers import install
from tests.pods import Pod, address, export, picture, registry

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "clients.md"
KEY = "secret"
FOLDER = ("1.png", "2.png", "3.png")


@dataclass(frozen=True)
class Block:
    """A fenced block of the page."""

    heading: str
    language: str
    text: str


def blocks() -> list[Block]:
    found = []
    for section in re.split(r"^## ", PAGE.read_text(), flags=re.MULTILINE)[1:]:
        heading = section.partition("\n")[0]
        fenced = re.findall(r"^```(\w+)\n(.*?)^```$", section, flags=re.MULTILINE | re.DOTALL)
        found += [Block(heading, language, text) for language, text in fenced]
    return found


BLOCKS = blocks()
RUNNABLE = [block for block in BLOCKS if block.language in {"sh", "python"} and block.heading != "Java"]


class Running(Pod):
    """A pod with a key, and a folder with what the examples ask about."""

    def __init__(self, home: Path, ingest: str) -> None:
        super().__init__(home, ingest, AIMIC_API_KEY=KEY)
        self.place = home / "examples"
        (self.place / "cells").mkdir(parents=True)
        (self.place / "cell.png").write_bytes(picture(0, "PNG"))
        for number, name in enumerate(FOLDER, 1):
            (self.place / "cells" / name).write_bytes(picture(number, "PNG"))
        (self.place / "cells" / "notes.txt").write_text("No image.")

    def labels(self) -> dict[str, str]:
        """What the service says of each image, by file name."""
        files = [self.place / "cell.png", *(self.place / "cells" / name for name in FOLDER)]
        answer = httpx.post(
            f"http://127.0.0.1:{self.rest}/inference/v1/models/cells/predict",
            files=[("images", (file.name, file.read_bytes())) for file in files],
            headers={"authorization": f"Bearer {KEY}"},
            timeout=60,
        )
        return {result["name"]: result["answer"]["label"] for result in answer.raise_for_status().json()["results"]}

    def run(self, block: Block, place: Path | None = None, python: str = sys.executable) -> str:
        """What the example prints; only the ports are not those of the page."""
        text = self.here(block.text)
        command = ["bash", "-euo", "pipefail", "-c", text] if block.language == "sh" else [python, "-c", text]
        environment = os.environ | {
            "AIMIC_API_KEY": KEY,
            "AIMIC_HOME": str(self.place),
            "PATH": os.pathsep.join((str(Path(sys.executable).parent), str(self.place / "bin"), os.environ["PATH"])),
        }
        done = subprocess.run(
            command,
            cwd=place or self.place,
            env=environment,
            capture_output=True,
            text=True,
            timeout=280,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def here(self, text: str) -> str:
        """The text with the ports of this service."""
        return text.replace("127.0.0.1:8080", f"127.0.0.1:{self.rest}").replace(
            "127.0.0.1:8002", f"127.0.0.1:{self.grpc}"
        )


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with (
        registry(*export(tmp_path_factory.mktemp("bundle"))) as server,
        Running(tmp_path_factory.mktemp("home"), address(server)) as pod,
    ):
        yield pod


@pytest.fixture(scope="module")
def labels(running: Running) -> dict[str, str]:
    found = running.labels()
    assert set(found) == {"cell.png", *FOLDER} and len(set(found.values())) > 1
    return found


@pytest.fixture(scope="module")
def grpcurl(running: Running) -> None:
    """The program on the examples' path; built when missing."""
    (running.place / "bin").mkdir()
    (running.place / "bin" / "grpcurl").symlink_to(install.grpcurl())


@pytest.fixture(scope="module")
def others_python() -> str:
    """A Python with other people's clients of the protocol, and nothing of ours."""
    script, environment = ROOT / "scripts" / "oip_clients.sh", os.environ | {"PYTHON": sys.executable}
    done = subprocess.run((script,), env=environment, check=True, capture_output=True, text=True, timeout=280)
    return done.stdout.strip()


def of_rest(said: str) -> list[str]:
    return [result["answer"]["label"] for result in json.loads(said)["results"]]


def of_grpc(said: str) -> list[str]:
    """grpcurl prints one document after the other."""
    decoder, found, at = json.JSONDecoder(), [], 0
    while at < len(said.rstrip()):
        document, at = decoder.raw_decode(said, at)
        at += len(said[at:]) - len(said[at:].lstrip())
        (result,) = document.get("reply", document)["results"]
        found.append(result["answer"]["label"])
    return found


def of_protocol(said: str) -> list[str]:
    (output,) = json.loads(said)["outputs"]
    return list(output["data"])


def of_lines(said: str) -> list[str]:
    return [line.partition(": ")[2] for line in said.splitlines()]


FIRST = ("cell.png",)
ANSWERED: dict[str, tuple[Callable[[str], list[str]], tuple[str, ...]]] = {
    "curl: one image": (of_rest, FIRST),
    "curl: several images": (of_rest, ("1.png", "2.png")),
    "curl: a version": (of_rest, FIRST),
    "curl: a deadline": (of_rest, FIRST),
    "Python": (of_lines, FOLDER),
    "Python: asyncio, and very many images": (of_lines, FIRST + FOLDER),
    "Python: gRPC": (of_lines, FIRST + FOLDER),
    "Python: only httpx": (of_lines, FIRST),
    "curl: Open Inference Protocol": (of_protocol, FIRST),
    "Python: tritonclient": (of_lines, FOLDER),
    "grpcurl: predict": (of_grpc, FIRST),
    "grpcurl: a stream": (of_grpc, ("1.png", "2.png")),
}
OTHERS = {"curl: what is served", "The command line", "grpcurl"}


def test_every_block_of_the_page_is_run_by_a_test() -> None:
    assert [block.heading for block in RUNNABLE] == list(dict.fromkeys(block.heading for block in RUNNABLE))
    assert {block.heading for block in RUNNABLE} == set(ANSWERED) | OTHERS
    assert [block.language for block in BLOCKS if block not in RUNNABLE] == ["json", "json", "xml", "java", "sh"]


def block_of(heading: str) -> Block:
    return next(block for block in RUNNABLE if block.heading == heading)


@pytest.mark.parametrize("heading", ANSWERED)
def test_an_example_says_what_the_service_says(
    heading: str, running: Running, labels: dict[str, str], request: pytest.FixtureRequest
) -> None:
    if heading.startswith("curl"):
        install.curl()
    if heading.startswith("grpcurl"):
        request.getfixturevalue("grpcurl")
    python = request.getfixturevalue("others_python") if "tritonclient" in heading else sys.executable
    read, files = ANSWERED[heading]
    assert read(running.run(block_of(heading), python=python)) == [labels[file] for file in files]


def test_curl_shows_what_is_served(running: Running) -> None:
    install.curl()
    (model,) = json.loads(running.run(block_of("curl: what is served")))["items"]
    assert (model["name"], model["version"], model["state"]) == ("cells", 1, "ready")


def test_grpcurl_finds_its_way_by_reflection(running: Running, grpcurl: None) -> None:
    said = running.run(block_of("grpcurl"))
    assert "aimic.rpc.v1.Inference\n" in said
    assert "repeated .aimic.rpc.v1.Image images = 3;" in said
    assert '"status": "SERVING"' in said


def test_the_command_line_keeps_what_it_has_and_resumes(running: Running, labels: dict[str, str]) -> None:
    running.run(block_of("The command line"))
    with (running.place / "answers.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header[:5] == ["file", "label", "p_round", "p_lobed", "p_granular"]
    said = {Path(row[0]).name: row[1] for row in rows}
    assert said == {**labels, "notes.txt": ""}
    # The bad file is asked about again, last; the answers of the first run stay where they were.
    assert [Path(row[0]).name for row in rows] == [*FOLDER, "notes.txt", "cell.png"]


@pytest.mark.long
def test_a_java_client_made_from_the_proto(running: Running, labels: dict[str, str], tmp_path: Path) -> None:
    install.maven()
    for block in BLOCKS:
        if block.heading == "Java" and block.language != "sh":
            name = re.match(r"(?:<!--|//) (\S+)", block.text)
            assert name is not None
            (tmp_path / name[1]).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name[1]).write_text(running.here(block.text))
    proto = Path("aimic", "rpc", "v1", "inference.proto")
    (tmp_path / "src" / "main" / "proto" / proto).parent.mkdir(parents=True)
    shutil.copy(ROOT / "proto" / proto, tmp_path / "src" / "main" / "proto" / proto)
    shutil.copytree(running.place / "cells", tmp_path / "cells")
    shutil.copy(running.place / "cell.png", tmp_path)
    command = next(block for block in BLOCKS if block.heading == "Java" and block.language == "sh")
    # Maven says things of its own on the same channel, and puts colours around ours.
    said = re.sub(r"\x1b\[[\d;]*m", "", running.run(command, tmp_path))
    ours = [line for line in said.splitlines() if re.match(r"\S+\.png: ", line)]
    assert ours == [f"cell.png: {labels['cell.png']}", f"cells/1.png: {labels['1.png']}"]
