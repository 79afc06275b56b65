"""Calls that may hang, on a thread of their own."""

import contextvars
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")


class Lane:
    """Does calls one after the other. Unlike an executor's, its thread never keeps the process from ending."""

    def __init__(self, name: str) -> None:
        self._calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        threading.Thread(target=self._work, name=name, daemon=True).start()

    def submit(self, work: Callable[[], T]) -> Future[T]:
        """Do `work` when those before it are done, as a part of the request and trace of who submits it."""
        done: Future[T] = Future()
        here = contextvars.copy_context()
        self._calls.put(lambda: here.run(_do, work, done))
        return done

    def close(self) -> None:
        """End the thread once what was submitted is done."""
        self._calls.put(None)

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            call()


def _do(work: Callable[[], Any], done: Future[Any]) -> None:
    try:
        result = work()
    except BaseException as error:
        done.set_exception(error)
    else:
        done.set_result(result)
