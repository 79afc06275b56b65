"""Toxiproxy: a server's address that can be cut, slowed and healed while programs use it (tests and `make faults`)."""

import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from services.local.servers.ports import free_ports

START_S = 60.0
# However we end, it ends too; the kernel sees to that when the thread ends that started it, and this one lasts.
_STARTER = ThreadPoolExecutor(1, thread_name_prefix="toxiproxy")


class Proxy:
    """One address on loopback before a server; open connections feel every change at once."""

    def __init__(self, api: httpx.Client, name: str, port: int) -> None:
        self._api = api
        self._path = f"/proxies/{name}"
        self.port = port
        self.address = f"127.0.0.1:{port}"

    def cut(self) -> None:
        """Break every connection and refuse new ones, as if the server had gone."""
        self._change(enabled=False)

    def slow(self, ms: int) -> None:
        """Let every answer come `ms` later."""
        self._toxic("latency", {"latency": ms})

    def limit(self, bytes_per_s: int) -> None:
        """Let through at most so much in either direction (in steps of 1,000 bytes a second)."""
        for stream in ("upstream", "downstream"):
            self._toxic("bandwidth", {"rate": max(1, bytes_per_s // 1000)}, stream)

    def hang(self) -> None:
        """Accept connections and swallow what is sent; nothing is ever answered."""
        for stream in ("upstream", "downstream"):
            self._toxic("timeout", {"timeout": 0}, stream)

    def reset_peer(self, after_ms: int = 0) -> None:
        """Reset every connection `after_ms` after its first bytes, without a goodbye."""
        self._toxic("reset_peer", {"timeout": after_ms})

    def heal(self) -> None:
        """As if nothing had been; connections that hung are broken, so that nobody waits on them."""
        toxics = [toxic["name"] for toxic in self._call("GET", "").json()["toxics"]]
        if toxics:
            self._change(enabled=False)
        for name in toxics:
            self._call("DELETE", f"/toxics/{name}")
        self._change(enabled=True)

    def _toxic(self, kind: str, attributes: dict[str, int], stream: str = "downstream") -> None:
        body = {"name": f"{kind}-{stream}", "type": kind, "stream": stream, "attributes": attributes}
        answer = self._api.post(f"{self._path}/toxics", json=body)
        if answer.status_code == httpx.codes.CONFLICT:  # it is there already: only its numbers change
            answer = self._api.post(f"{self._path}/toxics/{body['name']}", json={"attributes": attributes})
        answer.raise_for_status()

    def _change(self, *, enabled: bool) -> None:
        self._call("POST", "", json={"enabled": enabled})

    def _call(self, method: str, path: str, **more: Any) -> httpx.Response:
        return self._api.request(method, self._path + path, **more).raise_for_status()


class Toxiproxy:
    """The process that holds the proxies; `with Toxiproxy(binary) as toxiproxy: toxiproxy.proxy("127.0.0.1:5432")`."""

    def __init__(self, binary: Path) -> None:
        self._binary = binary
        self._process: subprocess.Popen[bytes] | None = None
        self._api = httpx.Client(trust_env=False, timeout=10)
        self._made = 0

    def start(self) -> None:
        """Start it on a free port of loopback; RuntimeError when it doesn't answer within START_S."""
        (port,) = free_ports(1)
        command = ["setpriv", "--pdeathsig", "KILL", "--", str(self._binary), "-host", "127.0.0.1", "-port", str(port)]
        self._process = _STARTER.submit(_quietly, command).result()
        self._api.base_url = httpx.URL(f"http://127.0.0.1:{port}")
        ends = time.monotonic() + START_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > ends:
                self.stop()
                raise RuntimeError(f"{self._binary} did not start on port {port}.")
            time.sleep(0.05)

    def proxy(self, upstream: str, port: int | None = None) -> Proxy:
        """A new way to `upstream` (host:port), healthy, on `port` or a free one."""
        self._made += 1
        name, port = f"p{self._made}", port or free_ports(1)[0]
        body = {"name": name, "listen": f"127.0.0.1:{port}", "upstream": upstream, "enabled": True}
        self._api.post("/proxies", json=body).raise_for_status()
        return Proxy(self._api, name, port)

    def stop(self) -> None:
        """End the process and with it every proxy."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        self._api.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _answers(self) -> bool:
        try:
            return self._api.get("/version").is_success
        except httpx.HTTPError:
            return False


def _quietly(command: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
