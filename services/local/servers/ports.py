"""Free ports that stay free while their server is down."""

import fcntl
import os
import random
import socket
import tempfile
from functools import cache
from pathlib import Path

_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_LOWEST = 15_000
_ours: set[int] = set()


def free_ports(count: int) -> list[int]:
    """`count` different ports that nobody uses, outside the range from which the kernel takes ports for clients.

    A client that tries again and again while its server is away would otherwise get the server's own port one day,
    connect to itself, and keep the server from coming back.

    They are ours until this process ends: whoever else asks by this function meanwhile, in any process of this user,
    gets others, even before our server has begun or while it is down.
    """
    among = candidates()
    found: list[int] = []
    for port in random.SystemRandom().sample(among, len(among)):
        if len(found) == count:
            break
        if not is_taken(port) and _reserved(port):
            found.append(port)
    return found


def candidates() -> range:
    """Ports that the kernel gives to no client."""
    first_of_clients = int(_RANGE.read_text().split()[0])
    return range(_LOWEST, first_of_clients) if first_of_clients > _LOWEST + 1000 else range(61_000, 65_000)


def _reserved(port: int) -> bool:
    """Whether the port could be put aside for this process, by a lock that the kernel gives back at its end."""
    if port in _ours:  # such locks are a process's: it never stands in its own way
        return False
    file = _lock_file()
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except OSError:
        return False
    _ours.add(port)
    return True


@cache
def _lock_file() -> int:
    """One byte for each port; open until the process ends."""
    path = Path(tempfile.gettempdir()) / f"aimic-ports-{os.getuid()}.lock"
    return os.open(path, os.O_CREAT | os.O_WRONLY | os.O_NOFOLLOW, 0o600)


def is_taken(port: int) -> bool:
    """Whether a port of this machine's loopback is in use."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False
