"""How much memory this process may use: what its control groups (of Linux) allow, or all that the machine has."""

from pathlib import Path

_PROC = Path("/proc")
_GROUPS = Path("/sys/fs/cgroup")


def memory_limit(proc: Path = _PROC, groups: Path = _GROUPS) -> int:
    """Bytes: the least of the machine's memory and the limits of our group and of those above it."""
    limits = [_of_machine(proc)]
    for line in (proc / "self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers:  # version 2: one tree for everything
            limits += _on_the_way(groups, path, "memory.max")
        elif "memory" in controllers.split(","):
            limits += _on_the_way(groups / "memory", path, "memory.limit_in_bytes")
    return min(limits)


def _of_machine(proc: Path) -> int:
    words = (proc / "meminfo").read_text().split()
    return int(words[words.index("MemTotal:") + 1]) * 1024


def _on_the_way(root: Path, path: str, name: str) -> list[int]:
    """The limits from our group up to the root.

    A container may see the path of its group on the host, which isn't there; the root that it sees is its own group.
    """
    group = root / path.strip("/")
    files = (place / name for place in (group, *group.parents) if place.is_relative_to(root))
    found = [file.read_text().strip() for file in files if file.is_file()]
    return [int(limit) for limit in found if limit.isdecimal()]
