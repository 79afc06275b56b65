"""Ports that a server keeps."""

import subprocess
import sys
from pathlib import Path

import pytest

from services.local.servers import ports
from services.local.servers.ports import free_ports


def test_free_ports_are_different_and_never_given_to_clients_by_the_kernel() -> None:
    low, high = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    ports = free_ports(50)
    assert len(set(ports)) == 50
    assert not [port for port in ports if low <= port <= high]


_ASK = """
import sys
from services.local.servers import ports
ports.candidates = lambda: range(int(sys.argv[1]), int(sys.argv[2]))
print(*ports.free_ports(20))
"""


def test_nobody_else_gets_a_port_whose_server_is_down(monkeypatch: pytest.MonkeyPatch) -> None:
    first, *_ = sorted(free_ports(1))
    few = range(first, first + 20)
    monkeypatch.setattr(ports, "candidates", lambda: few)
    mine = set(free_ports(10))
    again = set(free_ports(20))
    command = (sys.executable, "-c", _ASK, str(few.start), str(few.stop))
    theirs = {int(port) for port in subprocess.check_output(command, text=True).split()}
    assert len(mine) == 10
    assert not mine & again
    assert not (mine | again | {first}) & theirs
