"""A network that fails for a moment costs a while, and one that is away its own words."""

import subprocess
from pathlib import Path

import pytest

from aimic.errors import UnavailableError
from services.local.servers import debian, programs, tries

ROOT = Path(__file__).parents[5]


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long was waited between tries; here that takes no time."""
    found: list[float] = []
    monkeypatch.setattr("services.local.servers.tries.time.sleep", found.append)
    return found


@pytest.mark.parametrize("failures", [0, 1, 2])
def test_the_third_try_may_be_the_good_one(failures: int, pauses: list[float]) -> None:
    tried: list[int] = []

    def work() -> None:
        tried.append(len(tried))
        if len(tried) <= failures:
            raise UnavailableError("The mirror is away.")

    tries.thrice(work)
    assert (len(tried), len(pauses)) == (failures + 1, failures)


def test_what_fails_three_times_is_told(pauses: list[float], tmp_path: Path) -> None:
    command = ("bash", "-c", f"echo x >> {tmp_path}/tried; echo the mirror is away; exit 7")
    with pytest.raises(UnavailableError, match="the mirror is away"):
        programs.fetch(command, "a program by something")
    assert (tmp_path / "tried").read_text() == "x\n" * 3 and len(pauses) == 2


def test_debian_s_packages_are_tried_again(
    pauses: list[float], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With lists that can't be renewed, those of before may do."""
    asked: list[str] = []

    def apt(verb: str, *_: str, **__: str) -> None:
        asked.append(verb)
        if verb == "update" or asked.count("install") < 2:
            raise UnavailableError("apt-get failed.")

    monkeypatch.setattr(debian, "_apt", apt)
    monkeypatch.setattr(debian, "_LOCK", tmp_path / "lock")
    monkeypatch.setattr("services.local.servers.debian.shutil.which", lambda _: "/usr/bin/apt-get")
    monkeypatch.setattr("services.local.servers.debian.os.geteuid", lambda: 0)
    debian.install_packages("curl")
    assert asked == ["update", "install"] * 2


@pytest.mark.parametrize(("failures", "status"), [(0, 0), (2, 0), (3, 4)])
def test_scripts_try_as_often(failures: int, status: int) -> None:
    program = f"""
        . scripts/thrice.sh
        sleep() {{ :; }}
        tried=0
        work() {{ tried=$((tried + 1)); echo "try $tried of $1"; [ $tried -gt {failures} ] || return 4; }}
        thrice work it
    """
    done = subprocess.run(("bash", "-euc", program), cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stderr
    assert done.stdout.splitlines() == [f"try {n} of it" for n in range(1, min(failures + 1, 3) + 1)]
