"""How much memory this process may use."""

from pathlib import Path

import pytest

from services.inference.cgroups import memory_limit

MACHINE = 1000 * 1024


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """A machine with 1000 KiB of memory."""
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/meminfo").write_text("MemTotal:        1000 kB\nMemFree:  10 kB\n")
    return tmp_path / "proc"


def _limit(file: Path, said: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(said + "\n")


def test_this_machine_has_memory() -> None:
    assert memory_limit() > 2**20


@pytest.mark.parametrize("said", ["0::/\n", "4:memory:/\n0::/\n", "0::/user.slice\n1:cpu:/a\n", ""])
def test_without_a_limit_it_is_the_machines_memory(proc: Path, tmp_path: Path, said: str) -> None:
    (proc / "self/cgroup").write_text(said)
    _limit(tmp_path / "groups/memory.max", "max")
    _limit(tmp_path / "groups/memory/memory.limit_in_bytes", str(2**63 - 4096))
    assert memory_limit(proc, tmp_path / "groups") == MACHINE


def test_the_least_limit_on_the_way_up_holds(proc: Path, tmp_path: Path) -> None:
    (proc / "self/cgroup").write_text("0::/pods/one\n")
    _limit(tmp_path / "groups/pods/one/memory.max", "max")
    assert memory_limit(proc, tmp_path / "groups") == MACHINE
    _limit(tmp_path / "groups/pods/memory.max", "5000")
    assert memory_limit(proc, tmp_path / "groups") == 5000
    _limit(tmp_path / "groups/pods/one/memory.max", "4000")
    assert memory_limit(proc, tmp_path / "groups") == 4000


def test_version_1_and_a_container_that_sees_only_its_own_group(proc: Path, tmp_path: Path) -> None:
    (proc / "self/cgroup").write_text("9:name=systemd:/x\n4:cpu,memory:/docker/abc\n")
    _limit(tmp_path / "groups/memory/memory.limit_in_bytes", "7000")
    assert memory_limit(proc, tmp_path / "groups") == 7000
