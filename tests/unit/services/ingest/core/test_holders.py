"""A worker that holds something for all replicas lets go of it when the process ends."""

import time

from services.ingest.workers import Workers


class Counting:
    """Never has anything to do."""

    name = "counting"
    idle_s = 0.01

    def __init__(self) -> None:
        self.looks = self.left = 0

    def run_one(self) -> bool:
        self.looks += 1
        return False

    def leave(self) -> None:
        self.left += 1


def test_it_looks_as_often_as_it_wants_and_leaves_once() -> None:
    workers, worker = Workers(), Counting()
    workers.add(worker)
    workers.start()
    end = time.monotonic() + 10
    while worker.looks < 5 and time.monotonic() < end:
        time.sleep(0.01)
    assert worker.looks >= 5 and worker.left == 0
    workers.stop()
    assert worker.left == 1
