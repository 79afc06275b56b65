"""The process that runs executors of other libraries, as the task that packages sees it."""

import logging
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from pydantic import ValidationError

from aimic.nets.executors.judging import Word

logger = logging.getLogger(__name__)

_COMMAND = (sys.executable, "-m", "aimic.nets.executors.judging")
LOOK_S = 0.2
"""Pause between two looks whether we should stop."""
SILENT_S = 1200.0
"""Without a word for so long it hangs: to convert a network takes a minute, of a very large one some."""

_END_S = 30.0
"""Longest wait for its end after its last word."""


class EndedError(Exception):
    """It ended before its work did, in words."""


class Trying:
    """`python -m aimic.nets.executors.judging`; ends with the block, and by itself when we do."""

    def __init__(self, bundle: Path, pixels: Path, names: Sequence[str], threads: int) -> None:
        self._words: queue.SimpleQueue[Word | None] = queue.SimpleQueue()
        self._process = subprocess.Popen(
            [*_COMMAND, str(bundle), str(pixels), "--threads", str(threads), "--executors", ",".join(names)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def words(self, check: Callable[[], None]) -> Iterator[Word]:
        """All that it says, until it is done; `check()` now and then, which may raise. EndedError."""
        heard = time.monotonic()
        while True:
            check()
            try:
                word = self._words.get(timeout=LOOK_S)
            except queue.Empty:
                if time.monotonic() - heard > SILENT_S:
                    raise EndedError(f"it said nothing for {SILENT_S:.0f} seconds") from None
                continue
            if word is None:
                break
            heard = time.monotonic()
            yield word
        try:
            code = self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            raise EndedError("its process did not end") from None
        if code:
            raise EndedError(f"its process ended with {code}")

    def __enter__(self) -> Self:
        """It runs."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """It runs no longer."""
        self._process.kill()
        self._process.wait()
        self._reader.join()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            try:
                self._words.put(Word.model_validate_json(line))
            except ValidationError:
                logger.warning("not a word of ours", extra={"line": line[:500]})
        self._words.put(None)
