"""The real TorchServe in trouble: every call ends by its deadline, with an answer or a clear error, and it recovers.

The tests share one TorchServe, which takes seconds to start; its tokens last one minute.
"""

import errno
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import grpc
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from aimic.adapters.torchserve import archive
from aimic.adapters.torchserve.wire import Wire
from aimic.errors import AimicError, DeadlineError, FullError, UnavailableError
from tests.serving.torchserve_scene import Scene, bundle, family, fronts, until, workers


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    made = Scene(tmp_path_factory.mktemp("bundle") / "one")
    yield made
    made.predictor.close()


def test_nobody_else_may_enter(scene: Scene) -> None:
    """No port but gRPC's on the loopback, which asks for a token, too; sockets in a directory of ours."""
    assert stat.S_IMODE(scene.directory.stat().st_mode) == 0o700
    for surface, target in (("management", "/models"), ("inference", f"/predictions/{scene.hash}")):
        wire = Wire(scene.keeper.ground.socket(surface))
        assert wire.call("GET", target, time.monotonic() + 60, {}).status == 400
        other = {"authorization": f"Bearer {scene.first_token}x"}
        assert wire.call("GET", target, time.monotonic() + 60, other).status == 400
        wire.close()
    (front,) = fronts(scene.directory)
    listening = [one.laddr for one in front.net_connections("tcp") if one.status == psutil.CONN_LISTEN]
    assert listening and {address.ip.removeprefix("::ffff:") for address in listening} == {"127.0.0.1"}
    for address in listening:
        assert _grpc_refuses(address.port)


def _grpc_refuses(port: int) -> bool:
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        for method in ("management.ManagementAPIsService/ListModels", "inference.InferenceAPIsService/Ping"):
            with pytest.raises(grpc.RpcError) as refused:
                channel.unary_unary(f"/org.pytorch.serve.grpc.{method}", bytes, bytes)(b"", timeout=60)
            assert refused.value.code() in (grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNIMPLEMENTED)
    return True


def test_another_user_does_not_reach_the_sockets(scene: Scene) -> None:
    """Tried where we may become another user, which only root may; for others the directory's mode says the same."""
    probe = (
        "import os, socket, sys\n"
        "if sys.argv[2] != '0': os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "socket.socket(socket.AF_UNIX).connect(sys.argv[1])\n"
    )
    for surface in ("management", "inference", "metrics"):
        path = str(scene.keeper.ground.socket(surface))
        command = [sys.executable, "-IS", "-c", probe, path]
        assert subprocess.run([*command, "0"], check=False).returncode == 0
        if os.geteuid() == 0:
            tried = subprocess.run([*command, "65534"], check=False, capture_output=True)
            assert tried.returncode != 0 and b"PermissionError" in tried.stderr


def test_it_writes_in_its_directory_only(scene: Scene) -> None:
    """So that the rest of the disk may be read-only."""
    written = {file.path for process in family(scene.directory) for file in process.open_files() if file.mode != "r"}
    assert all(Path(path).is_relative_to(scene.directory) or path.startswith("/dev/") for path in written)
    (front,) = fronts(scene.directory)
    assert not list(Path("/tmp").glob(f"hsperfdata_*/{front.pid}"))  # where a JVM writes, wherever it works
    assert Path(scene.worker().cwd()).resolve().is_relative_to(scene.directory)
    environment = scene.worker().environ()
    assert not [name for name in environment if name.startswith("AIMIC_")]
    assert environment["HOME"] == environment["TMPDIR"] == str(scene.directory / "tmp")


def test_its_own_metrics(scene: Scene) -> None:
    assert scene.answers()
    families = {one.name: one for one in text_string_to_metric_families(scene.predictor.metrics())}
    (requests,) = [
        sample.value
        for sample in families["ts_inference_requests"].samples
        if sample.labels["model_name"] == scene.hash
    ]
    assert requests >= 2
    assert "PredictionTime" in families and "WorkerLoadTime" in families


def test_a_worker_that_dies_under_a_request(scene: Scene) -> None:
    worker = scene.worker()
    outcomes: list[str] = []

    def ask() -> None:
        try:
            scene.ask(150)
            outcomes.append("answer")
        except UnavailableError as error:
            outcomes.append(error.message)

    worker.send_signal(signal.SIGSTOP)
    asking = threading.Thread(target=ask)
    asking.start()
    time.sleep(0.5)  # for the request to be at the worker; if it isn't yet, the next worker answers it
    worker.kill()
    asking.join(200)
    assert len(outcomes) == 1 and ("died" in outcomes[0] or outcomes == ["answer"])
    until(scene.answers)


def test_a_worker_that_hangs(scene: Scene) -> None:
    """The caller's deadline holds, and TorchServe replaces the worker after `worker_s`."""
    worker = scene.worker()
    worker.send_signal(signal.SIGSTOP)
    began = time.monotonic()
    with pytest.raises((DeadlineError, UnavailableError)):
        scene.ask(timeout_s=1.0)
    assert time.monotonic() - began < 10
    until(scene.answers)
    assert scene.worker().pid != worker.pid


def test_a_worker_that_keeps_dying_is_fenced(scene: Scene) -> None:
    """One that dies of its images: it is there when they come."""

    def fenced() -> bool:
        if scene.answers():
            for worker in scene.workers():
                worker.kill()
        return "gets no images for now" in scene.predictor.troubles().get(scene.hash, "")

    until(fenced)
    until(scene.answers)
    assert scene.predictor.troubles() == {}


def test_a_worker_that_never_comes_back_is_fenced(scene: Scene) -> None:
    """One that dies before it is there, for which TorchServe would let every caller wait."""
    stopped = threading.Event()

    def kill_each() -> None:
        while not stopped.wait(0.1):
            for worker in scene.workers():
                worker.kill()

    killing = threading.Thread(target=kill_each)
    killing.start()
    try:
        began = time.monotonic()
        while "gets no images for now" not in scene.predictor.troubles().get(scene.hash, ""):
            with suppress(UnavailableError):
                scene.ask(timeout_s=250)  # whoever waits already when the fence closes is told then
            assert time.monotonic() - began < 200
        began = time.monotonic()
        with pytest.raises(UnavailableError):
            scene.ask()
        assert time.monotonic() - began < 10
    finally:
        stopped.set()
        killing.join()
    until(scene.answers)
    assert scene.predictor.troubles() == {}


def test_a_disk_without_space_costs_only_the_newcomer(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle(tmp_path / "two", seed=2)

    def full(_source: Path, _target: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(archive, "_link", full)
    with pytest.raises(FullError, match=r"No space left on device.*make space"):
        scene.predictor.load(tmp_path / "two")
    assert [model.bundle_hash for model in scene.predictor.loaded()] == [scene.hash]
    assert scene.answers()
    monkeypatch.undo()
    new = scene.predictor.load(tmp_path / "two")
    assert scene.predictor.predict(new.name, scene.pixels).shape == (4, 4)
    scene.predictor.unload(new.name)


def test_the_file_of_tokens_vanishes(scene: Scene) -> None:
    """Those that we hold go on, and a renewal writes it anew."""
    front = scene.keeper.front
    assert front is not None
    scene.keeper.ground.key_file.unlink()
    assert scene.answers()
    tokens = front.calls.tokens
    before = tokens.get("inference")
    assert tokens.newer("inference", before, 60) != before
    assert scene.answers() and scene.keeper.front is front
    assert scene.keeper.ground.key_file.exists()


def test_tokens_are_renewed_before_they_expire(scene: Scene) -> None:
    while time.time() < scene.expires + 3:
        until(scene.answers)
        time.sleep(0.5)
    front = scene.keeper.front
    assert front is not None
    tokens = front.calls.tokens
    for kind in ("inference", "management"):
        assert tokens.expires(kind).timestamp() > time.time()
    wire = Wire(scene.keeper.ground.socket("inference"))
    old = {"authorization": f"Bearer {scene.first_token}"}
    assert wire.call("GET", "/ping", time.monotonic() + 60, old).status == 400
    wire.close()


def test_torchserve_is_killed(scene: Scene, has_ended: Callable[[psutil.Process], bool]) -> None:
    """It is started again, with its model; until then callers are told at once."""
    (front,) = fronts(scene.directory)
    before = [front, *scene.workers()]
    front.kill()
    outcomes = set()

    def answers_again() -> bool:
        began = time.monotonic()
        try:
            scene.ask(timeout_s=5)
        except AimicError as error:
            outcomes.add(type(error))
            assert time.monotonic() - began < 15
            return False
        return True

    until(answers_again)
    assert outcomes <= {UnavailableError, DeadlineError}
    assert all(map(has_ended, before))
    assert scene.answers() and scene.predictor.loaded()[0].bundle_hash == scene.hash


def test_torchserve_hangs(scene: Scene, has_ended: Callable[[psutil.Process], bool]) -> None:
    """Its processes are there and none answers: callers' deadlines hold, and it is ended and started again."""
    before = [*fronts(scene.directory), *scene.workers()]
    for process in before:
        process.send_signal(signal.SIGSTOP)
    began = time.monotonic()
    with pytest.raises((DeadlineError, UnavailableError)):
        scene.ask(timeout_s=1.0)
    assert time.monotonic() - began < 10
    until(scene.answers)
    assert all(map(has_ended, before))


def test_close_leaves_nothing(scene: Scene, has_ended: Callable[[psutil.Process], bool]) -> None:
    """The last of those that share it."""
    scene.worker().send_signal(signal.SIGSTOP)
    before = family(scene.directory)
    scene.predictor.close()
    assert before and all(map(has_ended, before))
    assert not scene.directory.exists()


def test_our_death_leaves_nothing(tmp_path: Path, has_ended: Callable[[psutil.Process], bool]) -> None:
    """kill -9 of our process, while a worker hangs."""
    bundle(tmp_path / "one")
    program = (
        "import sys, time, pathlib\n"
        "from aimic.adapters.torchserve.ground import Settings\n"
        "from aimic.adapters.torchserve_predictor import TorchServePredictor\n"
        "predictor = TorchServePredictor(Settings(threads=1))\n"
        "predictor.load(pathlib.Path(sys.argv[1]))\n"
        "print(predictor._keeper.ground.directory, flush=True)\n"
        "time.sleep(600)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / "one")],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    ) as ours:
        try:
            assert ours.stdout is not None
            directory = Path(ours.stdout.readline().decode().strip())
            started = family(directory)
            assert directory.name.startswith("aimic-ts-") and fronts(directory) and workers(directory)
            for worker in workers(directory):
                worker.send_signal(signal.SIGSTOP)
        finally:
            ours.kill()
    until(lambda: all(map(has_ended, started)))
    until(lambda: not directory.exists())
