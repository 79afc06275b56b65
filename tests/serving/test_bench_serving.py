"""The harness of `make bench-serving`: its load against a server whose answers are known, and a quick run of it all."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil
import pytest

from benchmarks.serving.load import Plan, measure
from benchmarks.serving.programs import busy_core

ROOT = Path(__file__).parents[2]
PARTS = ("overload", "table3")


class Pace:
    """Answers requests one after the other, each after a while; the n-th with `status(n)`."""

    def __init__(self, each_s: float, status: Callable[[int], int]) -> None:
        self.each_s, self.status = each_s, status
        self.bodies: list[bytes] = []
        self.turn = threading.Lock()


@contextmanager
def serving(pace: Pace) -> Iterator[int]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            with pace.turn:
                pace.bodies.append(body)
                status = pace.status(len(pace.bodies))
                time.sleep(pace.each_s)
            self.send_response(status)
            self.send_header("content-length", "2")
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, format: str, *args: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 512

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.fixture
def plan(tmp_path: Path) -> Callable[..., Plan]:
    bodies = []
    for number in range(2):
        bodies.append(tmp_path / str(number))
        bodies[-1].write_bytes(b"picture %d" % number)

    def make(port: int, **more: Any) -> Plan:
        return Plan(port=port, target="/p", content_type="image/jpeg", bodies=tuple(bodies), **more)

    return make


def test_what_is_answered_refused_and_failed_is_told_apart(plan: Callable[..., Plan]) -> None:
    # The first two are for warming and count for nothing.
    pace = Pace(0, lambda number: {3: 429, 4: 503, 5: 500}.get(number, 200))
    with serving(pace) as port:
        outcome = measure(plan(port, warm=2, requests=10, clients=3))
    assert (len(outcome.milliseconds), outcome.refused, outcome.failed) == (7, 2, 1)
    assert pace.bodies[:2] == [b"picture 0", b"picture 1"]
    assert sorted(pace.bodies) == [b"picture 0"] * 6 + [b"picture 1"] * 6
    assert list(outcome.milliseconds) == sorted(outcome.milliseconds)


def test_an_open_loop_goes_on_sending_to_a_server_that_falls_behind(plan: Callable[..., Plan]) -> None:
    """A closed loop asks a slow server less often, and so never sees how long others would have to wait."""
    with serving(Pace(0.02, lambda _: 200)) as port:
        alone = measure(plan(port, requests=20))
        behind = measure(plan(port, rate=200.0, seconds=1.0, seed=1))
    assert alone.quantile(0) >= 20
    # At four times what it can bear, the last of 200 has 3 seconds of others before it.
    assert 120 < len(behind.milliseconds) + behind.unsent < 300 and behind.failed == 0
    assert behind.quantile(0.99) > 1000


def test_a_stranger_keeps_a_core_busy_while_the_block_lasts(tmp_path: Path) -> None:
    before = set(psutil.Process().children())
    with busy_core(tmp_path):
        (stranger,) = set(psutil.Process().children()) - before
        end = time.monotonic() + 60
        while stranger.cpu_times().user < 0.5:
            assert time.monotonic() < end
            time.sleep(0.05)
    assert not stranger.is_running()


def test_a_quick_run_fills_the_tables(tmp_path: Path) -> None:
    results = tmp_path / "RESULTS.md"
    marks = (f"<!-- serving {part}: begin -->\nold\n<!-- serving {part}: end -->\n" for part in PARTS)
    results.write_text("before\n" + "".join(marks) + "after\n")
    command = [sys.executable, "-m", "benchmarks.serving", "--quick", "--results", str(results), "--only", *PARTS]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    text = results.read_text()
    assert text.startswith("before") and text.endswith("after\n") and "\nold\n" not in text
    assert "| p99 of the admitted at 10× overload, ShuffleNet-v2 x1.0 | itself at capacity | ≤ 2× | " in text
    cold, warm = text.split("**warm, as we serve.**")
    for table in (cold, warm):
        (line,) = (line for line in table.splitlines() if line.startswith("| ShuffleNet-v2 x1.0 | "))
        one, many = (cell.split(", ") for cell in line.split(" | ")[4:6])
        assert len(one) == len(many) == 2  # runs, as many as the quick size has
    assert "about" in done.stderr and "left of this part" in done.stderr
