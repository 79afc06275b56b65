"""Ports that a server keeps."""

from pathlib import Path

from services.local.servers.ports import free_ports


def test_free_ports_are_different_and_never_given_to_clients_by_the_kernel() -> None:
    low, high = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    ports = free_ports(50)
    assert len(set(ports)) == 50
    assert not [port for port in ports if low <= port <= high]
