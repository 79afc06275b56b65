"""What a Kubernetes Service is to its pods: one address, each connection to the next replica that takes it."""

import asyncio
import contextlib
import itertools
import threading

CHUNK = 1 << 16
CONNECT_S = 1.0


class Balancer:
    """A TCP balancer over ports of loopback, on a thread of its own."""

    def __init__(self, port: int, upstreams: tuple[int, ...]) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._port = port
        self._turns = itertools.cycle(range(len(upstreams)))
        self._upstreams = upstreams
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="balancer", daemon=True)

    def start(self) -> None:
        """Begin to accept."""
        self._thread.start()
        asyncio.run_coroutine_threadsafe(
            asyncio.start_server(self._serve, "127.0.0.1", self._port), self._loop
        ).result()

    def stop(self) -> None:
        """Break every connection and end."""
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _end(self) -> None:
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer):
            try:
                up_reader, up_writer = await self._connect()
            except OSError:
                return
            with contextlib.closing(up_writer):
                ways = (
                    asyncio.ensure_future(_pump(reader, up_writer)),
                    asyncio.ensure_future(_pump(up_reader, writer)),
                )
                # When one side has ended, nothing more can come of the other: HTTP closes both.
                with contextlib.suppress(asyncio.CancelledError):  # the end; asyncio's streams would complain of it
                    await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
                for way in ways:
                    way.cancel()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        first = next(self._turns)
        for number in range(len(self._upstreams)):
            port = self._upstreams[(first + number) % len(self._upstreams)]
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(CONNECT_S):
                    return await asyncio.open_connection("127.0.0.1", port)
        raise ConnectionRefusedError("no replica takes connections")


async def _pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await source.read(CHUNK):
            target.write(data)
            await target.drain()
