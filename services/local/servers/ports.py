"""Free ports that stay free while their server is down."""

import random
import socket
from pathlib import Path

_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_LOWEST = 15_000


def free_ports(count: int) -> list[int]:
    """`count` different ports that nobody uses, outside the range from which the kernel takes ports for clients.

    A client that tries again and again while its server is away would otherwise get the server's own port one day,
    connect to itself, and keep the server from coming back.
    """
    first_of_clients = int(_RANGE.read_text().split()[0])
    candidates = range(_LOWEST, first_of_clients) if first_of_clients > _LOWEST + 1000 else range(61_000, 65_000)
    found: list[int] = []
    for port in random.SystemRandom().sample(candidates, len(candidates)):
        if len(found) == count:
            break
        if not is_taken(port):
            found.append(port)
    return found


def is_taken(port: int) -> bool:
    """Whether a port of this machine's loopback is in use."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False
