"""With what each bundle runs here: as this pod's disk says, else the registry, else measured and told to the registry.

The first pod of a class of machines that measures decides for all of them, so that replicas answer alike. Without the
registry nobody could know what the others do: then what the disk says serves, or eager torch.
"""

import asyncio
import contextlib
import logging
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import httpx
from pydantic import ValidationError

from aimic.domain.executor import ExecutorChoice, reduced
from aimic.domain.model import ServingEntry
from aimic.errors import UnavailableError

logger = logging.getLogger(__name__)

AUTO, EAGER = "auto", "eager"
_WORDS = 2000
"""Last characters of what a measurement said when it failed."""
Measure = Callable[[Path, bool], Awaitable[ExecutorChoice]]
"""Of a bundle's directory, and whether bfloat16 may be chosen."""


class Machines(NamedTuple):
    """Classes of this machine, and which of them is meant for a bundle."""

    full: str
    """In float32."""
    reduced: str
    """Where bfloat16 may be chosen too."""
    approved: frozenset[str] = frozenset()
    """Hashes of the bundles for which a person approved that."""

    def of(self, bundle_hash: str) -> str:
        """The class under which the choice for this bundle is kept."""
        return self.reduced if bundle_hash in self.approved else self.full


class Executors:
    """Names the executor of a bundle. `wish` is AUTO, EAGER or the name of the one to use for all that admit it."""

    def __init__(self, http: httpx.AsyncClient, folder: Path, wish: str, machines: Machines, measure: Measure) -> None:
        self._http = http
        self._folder = folder
        self._wish = wish
        self._machines = machines
        self._measure = measure
        self._measured: dict[str, ExecutorChoice] = {}
        self._one = asyncio.Lock()

    async def known(self, entry: ServingEntry) -> tuple[bool, str | None]:
        """Whether it is settled, without a measurement, and then the name (None: eager torch)."""
        if self._wish != AUTO:
            return True, self._wished(entry)
        choice = await asyncio.to_thread(self._kept, entry.bundle_hash)
        if choice is None:
            with contextlib.suppress(UnavailableError):  # it may be known to the registry, which is away
                choice = await self._ask("GET", entry)
            if choice is not None:
                await asyncio.to_thread(self._keep, choice)
        return choice is not None, None if choice is None else self._allowed(choice.executor, entry)

    async def of(self, entry: ServingEntry, directory: Path) -> str | None:
        """The name for the entry's bundle, which lies in `directory`; None: eager torch, for now.

        Whether the bundle's own record admits it is seen when it is loaded.
        """
        if self._wish != AUTO:
            return self._wished(entry)
        choice = await self._chosen(entry, directory)
        return None if choice is None else self._allowed(choice.executor, entry)

    def _wished(self, entry: ServingEntry) -> str | None:
        return None if self._wish == EAGER else self._allowed(self._wish, entry)

    def _allowed(self, name: str, entry: ServingEntry) -> str | None:
        """Eager torch in place of bfloat16 that nobody approved for this bundle."""
        if not reduced(name) or entry.bundle_hash in self._machines.approved:
            return name
        logger.warning("bfloat16 was not approved for this bundle", extra={"bundle": entry.bundle_hash})
        return None

    async def _chosen(self, entry: ServingEntry, directory: Path) -> ExecutorChoice | None:
        kept = await asyncio.to_thread(self._kept, entry.bundle_hash)
        if kept is not None:
            return kept
        try:
            choice = await self._of_all(entry, directory)
        except UnavailableError as error:
            logger.warning("eager torch for now", extra={"bundle": entry.bundle_hash, "cause": error.message})
            return None
        await asyncio.to_thread(self._keep, choice)
        return choice

    async def _of_all(self, entry: ServingEntry, directory: Path) -> ExecutorChoice:
        """What holds for this class of machines; UnavailableError when that can't be known now."""
        known = await self._ask("GET", entry)
        if known is not None:
            return known
        async with self._one:  # two measurements at once would measure each other
            ours = self._measured.get(entry.bundle_hash) or await self._measure(
                directory, entry.bundle_hash in self._machines.approved
            )
        self._measured[entry.bundle_hash] = ours
        held = await self._ask("PUT", entry, ours)
        if held is None:
            raise UnavailableError("The registry doesn't keep choices of executors.")
        self._measured.pop(entry.bundle_hash, None)
        logger.info("executor chosen", extra={"bundle": entry.bundle_hash, "executor": held.executor})
        return held

    async def _ask(
        self, method: str, entry: ServingEntry, choice: ExecutorChoice | None = None
    ) -> ExecutorChoice | None:
        machine = self._machines.of(entry.bundle_hash)
        url = f"/api/v1/models/{quote(entry.name, safe='')}/versions/{entry.version}/executors/{machine}"
        body = None if choice is None else choice.model_dump(mode="json")
        try:
            answer = await self._http.request(method, url, json=body)
            if answer.status_code == httpx.codes.NOT_FOUND:
                return None
            answer.raise_for_status()
            found = ExecutorChoice.model_validate_json(answer.content)
        except (httpx.HTTPError, ValidationError) as error:
            cause = str(error) or type(error).__name__
            raise UnavailableError(f"The registry did not say with what the model runs: {cause}") from error
        if not self._meant(found, entry.bundle_hash):
            raise UnavailableError("The registry answered with the choice of another bundle or kind of machine.")
        return found

    def _meant(self, choice: ExecutorChoice, bundle_hash: str) -> bool:
        return (choice.bundle_hash, choice.machine_class) == (bundle_hash, self._machines.of(bundle_hash))

    def _file(self, bundle_hash: str) -> Path:
        return self._folder / f"{bundle_hash}.{self._machines.of(bundle_hash)}.json"

    def _kept(self, bundle_hash: str) -> ExecutorChoice | None:
        try:
            found = ExecutorChoice.model_validate_json(self._file(bundle_hash).read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValidationError) as error:
            logger.warning("a stored choice can't be read", extra={"bundle": bundle_hash, "cause": str(error)})
            return None
        return found if self._meant(found, bundle_hash) else None

    def _keep(self, choice: ExecutorChoice) -> None:
        file = self._file(choice.bundle_hash)
        fresh = file.with_suffix(".new")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with fresh.open("w") as target:
                target.write(choice.model_dump_json())
                target.flush()
                os.fsync(target.fileno())
            fresh.replace(file)
        except OSError as error:  # the registry knows it too
            logger.warning("a choice could not be stored", extra={"cause": str(error)})


class Measurement:
    """Measures in a process of its own, `threads` threads wide, for `seconds` at most."""

    def __init__(self, threads: int, seconds: float) -> None:
        self._arguments = ["--threads", str(threads), "--seconds", str(max(1, round(seconds)))]
        self._seconds = seconds

    async def __call__(self, directory: Path, reduced: bool) -> ExecutorChoice:
        """The choice for a bundle, bfloat16 among the candidates if `reduced`; UnavailableError when the process
        gave none."""
        wish = ["--reduced"] if reduced else []
        command = (sys.executable, "-m", "aimic.nets.executors", str(directory), *self._arguments, *wish)
        pipe, nothing = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
        try:
            process = await asyncio.create_subprocess_exec(*command, stdin=nothing, stdout=pipe, stderr=pipe)
        except OSError as error:
            raise UnavailableError(f"Measuring the executors could not begin: {error.strerror}.") from error
        try:
            async with asyncio.timeout(self._seconds + 5):
                told, said = await process.communicate()
        except TimeoutError:
            raise UnavailableError("Measuring the executors took too long.") from None
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        try:
            return ExecutorChoice.model_validate_json(told.splitlines()[-1] if told.strip() else b"")
        except ValidationError:
            logger.warning("measuring failed", extra={"said": said[-_WORDS:].decode(errors="replace")})
            raise UnavailableError(f"Measuring the executors ended with {process.returncode}.") from None
