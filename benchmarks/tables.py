"""Tables in Markdown files, written by the commands that measured them, and what their heads say of the machine."""

import os
import platform
import time
from collections.abc import Iterable
from pathlib import Path

from aimic.settings import available_cpus

Row = tuple[str, str]


def table(rows: Iterable[Row]) -> str:
    """What was measured, and the figure."""
    return "\n".join(["| what | measured |", "|---|---|", *(f"| {what} | {value} |" for what, value in rows)])


def write_between_marks(file: Path, name: str, text: str) -> None:
    """Put `text` between `<!-- name: begin -->` and `<!-- name: end -->`."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    old = file.read_text()
    head, tail = old.split(begin)[0], old.split(end)[1]
    file.write_text(f"{head}{begin}\n{text}\n{end}{tail}")


def processor() -> str:
    """The machine's own name for its processor."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next(line for line in lines if line.startswith("model name")).split(":")[1].strip()


def when_and_where() -> str:
    """Today, and the machine: its cores, memory and Python."""
    gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    cores = f"{available_cpus()} cores of {processor()}"
    return f"{time.strftime('%Y-%m-%d')}, {cores}, {gib:.0f} GiB of memory, Python {platform.python_version()}"
