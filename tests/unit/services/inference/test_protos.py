"""The committed stubs are what the definitions give."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[4]


def protos(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(root / "scripts" / "protos.sh"), *arguments]
    return subprocess.run(
        command, check=False, capture_output=True, text=True, env={"PYTHON": sys.executable, "PATH": "/usr/bin:/bin"}
    )


def test_the_stubs_have_not_drifted() -> None:
    checked = protos(ROOT, "--check")
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for part in ("scripts", "proto", "aimic/rpc"):
        shutil.copytree(ROOT / part, tmp_path / part)
    return tmp_path


def test_a_changed_definition_is_noticed_and_generating_mends_it(copy: Path) -> None:
    definition = copy / "proto/aimic/rpc/v1/inference.proto"
    definition.write_text(definition.read_text().replace("string class_mix = 5", "string mix = 5"))
    assert protos(copy, "--check").returncode == 1
    assert protos(copy).returncode == 0
    assert protos(copy, "--check").returncode == 0
