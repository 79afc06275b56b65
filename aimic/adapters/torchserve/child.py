"""TorchServe's processes as we see them: started under a guardian, heard, ended."""

import logging
import os
import subprocess
import sys
import threading
from collections import deque
from pathlib import Path

from aimic.adapters.torchserve.ground import Ground

logger = logging.getLogger(__name__)

_LAST_LINES = 30
_END_S = 15.0
_GUARDIAN = Path(__file__).with_name("guardian.py")


class Child:
    """TorchServe's front with its workers. They end with us, whatever ends us."""

    def __init__(self, ground: Ground) -> None:
        """Start it."""
        ground.clean()
        self._tail: deque[str] = deque(maxlen=_LAST_LINES)
        self._process = subprocess.Popen(
            [sys.executable, "-IS", str(_GUARDIAN), str(ground.directory), *ground.command()],
            stdin=subprocess.PIPE,  # the guardian watches it: it closes when we end
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=ground.environment(os.environ),
            start_new_session=True,  # Ctrl-C is ours to answer
        )
        self._hearing = threading.Thread(target=self._hear, name="torchserve's log", daemon=True)
        self._hearing.start()

    @property
    def running(self) -> bool:
        """Whether the front is there."""
        return self._process.poll() is None

    @property
    def last_words(self) -> str:
        """The end of what it wrote."""
        return " / ".join(self._tail)

    def close(self) -> None:
        """End it with all its workers, at once. Its directory stays."""
        assert self._process.stdin is not None
        self._process.terminate()
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            logger.error("TorchServe's guardian does not end", extra={"guardian": self._process.pid})
            self._process.kill()
            self._process.wait()
        self._process.stdin.close()
        self._hearing.join(2)

    def _hear(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                words = line.decode(errors="replace").rstrip()[:2000]
                if words:
                    self._tail.append(words)
                    logger.info("TorchServe said", extra={"line": words})
