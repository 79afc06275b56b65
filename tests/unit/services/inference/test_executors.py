"""Replicas of one class of machines run a bundle alike: by disk, registry or a measurement, in that order."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx
import pytest
from pydantic import ValidationError

from aimic.domain.executor import ExecutorChoice
from aimic.domain.model import ServingEntry, Stage
from aimic.errors import UnavailableError
from services.inference.executors import AUTO, EAGER, Executors, Machines, Measurement
from services.inference.settings import Settings

pytestmark = pytest.mark.anyio
HASH, MACHINE = "ab" * 32, "amd-epyc-2t"
REDUCED = f"{MACHINE}-reduced"
ENTRY = ServingEntry(name="cells", version=3, bundle_hash=HASH, stage=Stage.SERVING, bundle_url="/x")


def _choice(executor: str, bundle_hash: str = HASH, machine: str = MACHINE) -> ExecutorChoice:
    return ExecutorChoice(bundle_hash=bundle_hash, machine_class=machine, executor=executor)


class Book:
    """The registry's part: keeps what it is told first. It can be away."""

    def __init__(self) -> None:
        self.held: dict[str, bytes] = {}
        self.away = False
        self.asked: list[str] = []

    def http(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=httpx.MockTransport(self._answer), base_url="http://registry")

    def _answer(self, request: httpx.Request) -> httpx.Response:
        if self.away:
            raise httpx.ConnectError("refused", request=request)
        self.asked.append(f"{request.method} {request.url.path}")
        if request.method == "PUT":
            self.held.setdefault(request.url.path, request.content)
        held = self.held.get(request.url.path)
        return httpx.Response(404) if held is None else httpx.Response(200, content=held)


class Measured:
    """Measurements that say what they are told to; how many there were."""

    def __init__(self, executor: str) -> None:
        self.executor = executor
        self.times = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self, _: Path, reduced: bool) -> ExecutorChoice:
        self.times += 1
        await self.gate.wait()
        return _choice(self.executor, machine=REDUCED if reduced else MACHINE)


@pytest.fixture
def pod(tmp_path: Path) -> Callable[..., Executors]:
    """A pod's choice of executors; pods of one name share a disk."""

    def make(
        book: Book,
        measure: Callable[[Path, bool], Awaitable[ExecutorChoice]],
        name: str = "a",
        wish: str = AUTO,
        approved: frozenset[str] = frozenset(),
    ) -> Executors:
        return Executors(book.http(), tmp_path / name, wish, Machines(MACHINE, REDUCED, approved), measure)

    return make


async def test_the_first_pod_measures_and_the_others_follow(pod: Callable[..., Executors], tmp_path: Path) -> None:
    book, first, second = Book(), Measured("openvino-fp32-cpu"), Measured("onnxruntime-fp32-cpu")
    assert await pod(book, first).of(ENTRY, tmp_path) == "openvino-fp32-cpu"
    assert await pod(book, second, "b").of(ENTRY, tmp_path) == "openvino-fp32-cpu"
    assert (first.times, second.times) == (1, 0)
    path = f"/api/v1/models/cells/versions/3/executors/{MACHINE}"
    assert book.asked == [f"GET {path}", f"PUT {path}", f"GET {path}"]


async def test_of_two_that_measure_at_once_the_first_to_tell_decides(
    pod: Callable[..., Executors], tmp_path: Path
) -> None:
    book, slow, quick = Book(), Measured("onnxruntime-fp32-cpu"), Measured("openvino-fp32-cpu")
    slow.gate.clear()
    late = asyncio.create_task(pod(book, slow).of(ENTRY, tmp_path))
    while not slow.times:
        await asyncio.sleep(0)
    assert await pod(book, quick, "b").of(ENTRY, tmp_path) == "openvino-fp32-cpu"
    slow.gate.set()
    assert await late == "openvino-fp32-cpu"
    assert await pod(book, slow).of(ENTRY, tmp_path) == "openvino-fp32-cpu"  # so it says on its disk too
    assert slow.times == 1


async def test_without_the_registry_the_disk_says_or_eager_serves(
    pod: Callable[..., Executors], tmp_path: Path
) -> None:
    book, measure = Book(), Measured("openvino-fp32-cpu")
    book.away = True
    assert await pod(book, measure).of(ENTRY, tmp_path) is None
    assert measure.times == 0
    book.away = False
    assert await pod(book, measure).of(ENTRY, tmp_path) == "openvino-fp32-cpu"
    book.away = True
    assert await pod(book, measure).of(ENTRY, tmp_path) == "openvino-fp32-cpu"
    assert await pod(book, measure, "new").of(ENTRY, tmp_path) is None


async def test_what_was_measured_waits_for_the_registry(pod: Callable[..., Executors], tmp_path: Path) -> None:
    book, measure = Book(), Measured("openvino-fp32-cpu")
    measure.gate.clear()
    executors = pod(book, measure)
    asking = asyncio.create_task(executors.of(ENTRY, tmp_path))
    while not measure.times:
        await asyncio.sleep(0)
    book.away = True
    measure.gate.set()
    assert await asking is None
    assert not list((tmp_path / "a").glob("*"))
    book.away = False
    assert await executors.of(ENTRY, tmp_path) == "openvino-fp32-cpu"
    assert measure.times == 1


async def test_a_measurement_that_fails_leaves_eager_and_is_tried_again(
    pod: Callable[..., Executors], tmp_path: Path
) -> None:
    book, times = Book(), 0

    async def fails(_: Path, reduced: bool) -> ExecutorChoice:
        nonlocal times
        times += 1
        raise UnavailableError("no")

    executors = pod(book, fails)
    assert [await executors.of(ENTRY, tmp_path) for _ in range(2)] == [None, None]
    assert times == 2 and not book.held


@pytest.mark.parametrize("held", [_choice("x", "cd" * 32), _choice("x", machine="other"), None])
async def test_an_answer_that_is_not_meant_is_not_followed(
    pod: Callable[..., Executors], tmp_path: Path, held: ExecutorChoice | None
) -> None:
    book, measure = Book(), Measured("openvino-fp32-cpu")
    book.held[f"/api/v1/models/cells/versions/3/executors/{MACHINE}"] = (
        b"{" if held is None else held.model_dump_json().encode()
    )
    assert await pod(book, measure).of(ENTRY, tmp_path) is None


async def test_a_damaged_or_foreign_file_on_the_disk_is_not_followed(
    pod: Callable[..., Executors], tmp_path: Path
) -> None:
    book, measure = Book(), Measured("openvino-fp32-cpu")
    await pod(book, measure).of(ENTRY, tmp_path)
    (file,) = (tmp_path / "a").iterdir()
    for content in ("{", _choice("x", "cd" * 32).model_dump_json()):
        file.write_text(content)
        assert await pod(book, measure).of(ENTRY, tmp_path) == "openvino-fp32-cpu"
    assert ExecutorChoice.model_validate_json(file.read_bytes()).executor == "openvino-fp32-cpu"


async def test_a_disk_that_cannot_be_written_is_no_reason_not_to_serve(
    pod: Callable[..., Executors], tmp_path: Path
) -> None:
    (tmp_path / "a").write_text("no folder")
    assert await pod(Book(), Measured("openvino-fp32-cpu")).of(ENTRY, tmp_path) == "openvino-fp32-cpu"


async def test_who_names_one_measures_nothing(pod: Callable[..., Executors], tmp_path: Path) -> None:
    book, measure = Book(), Measured("openvino-fp32-cpu")
    assert await pod(book, measure, wish="onnxruntime-fp32-cpu").of(ENTRY, tmp_path) == "onnxruntime-fp32-cpu"
    assert await pod(book, measure, wish=EAGER).of(ENTRY, tmp_path) is None
    assert not measure.times and not book.asked


async def test_a_process_that_cannot_measure_says_so(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="Measuring the executors"):
        await Measurement(1, 120)(tmp_path, False)


async def test_reduced_precision_is_for_the_bundles_that_were_approved(
    pod: Callable[..., Executors], tmp_path: Path
) -> None:
    book, measure, bf16 = Book(), Measured("openvino-bf16-cpu"), "openvino-bf16-cpu"
    approved = frozenset({HASH})
    assert await pod(book, measure, approved=approved).of(ENTRY, tmp_path) == bf16
    assert list(book.held) == [f"/api/v1/models/cells/versions/3/executors/{REDUCED}"]
    # Neither by name, nor by the same disk once the approval is withdrawn, nor by what a registry says.
    by_name = pod(book, measure, approved=frozenset({"cd" * 32}), wish=bf16)
    assert (await by_name.of(ENTRY, tmp_path), await by_name.known(ENTRY)) == (None, (True, None))
    assert await pod(book, Measured("onnxruntime-fp32-cpu")).of(ENTRY, tmp_path) == "onnxruntime-fp32-cpu"
    book.held[f"/api/v1/models/cells/versions/3/executors/{MACHINE}"] = _choice(bf16).model_dump_json().encode()
    misled = pod(book, measure, "b")
    assert (await misled.of(ENTRY, tmp_path), await misled.known(ENTRY)) == (None, (True, None))


@pytest.mark.parametrize("value", ["true", "1", "cells:3", f"{HASH},", "AB" * 32])
def test_approval_is_by_hash_and_never_for_all(value: str) -> None:
    with pytest.raises(ValidationError, match="hashes"):
        Settings(inference_reduced_precision=value)
    assert Settings().reduced == frozenset()
    assert Settings(inference_reduced_precision=f"{HASH},{'cd' * 32}").reduced == {HASH, "cd" * 32}


async def test_what_is_settled_is_known_without_a_measurement(pod: Callable[..., Executors], tmp_path: Path) -> None:
    """By wish, disk or registry; and nobody gets reduced precision by this way either without approval."""
    book, measure = Book(), Measured("openvino-fp32-cpu")
    assert await pod(book, measure, wish=EAGER).known(ENTRY) == (True, None)
    for approved, name in ((frozenset({HASH}), "openvino-bf16-cpu"), (frozenset({"cd" * 32}), None)):
        wishing = pod(book, measure, approved=approved, wish="openvino-bf16-cpu")
        assert await wishing.known(ENTRY) == (True, name)
    assert await pod(book, measure).known(ENTRY) == (False, None)
    await pod(book, measure).of(ENTRY, tmp_path)
    assert await pod(book, measure, "b").known(ENTRY) == (True, "openvino-fp32-cpu")  # the registry says so
    book.away = True
    assert await pod(book, measure, "b").known(ENTRY) == (True, "openvino-fp32-cpu")  # and now the disk
    assert await pod(book, measure, "c").known(ENTRY) == (False, None)
    assert measure.times == 1
