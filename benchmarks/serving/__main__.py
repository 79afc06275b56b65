"""Measure serving against what people use today, and write the tables of benchmarks/RESULTS.md.

    make bench-serving                                      everything: about two hours
    python -m benchmarks.serving --only throughput overload    these parts; the others' tables stay

Wants a machine with nothing else to do. Each part replaces its own table when it is done.
"""

import argparse
import signal
import sys
import time
from pathlib import Path

from benchmarks.serving.load import ROOT, LoadError
from benchmarks.serving.material import QUICK, Material, Size, scratch
from benchmarks.serving.peers import PYTHON, versions
from benchmarks.serving.programs import NotStartedError
from benchmarks.serving.rows import PARTS
from benchmarks.serving.running import LostRequestsError, Run
from benchmarks.serving.table import HEADINGS, head, markdown, used_by_others
from benchmarks.serving.table3 import table3
from benchmarks.tables import write_between_marks

RESULTS = ROOT / "benchmarks/RESULTS.md"
TABLE3 = "table3"
MINUTES = {"one-image": 9, "hundred-images": 31, "busy-core": 23, "throughput": 5, "overload": 2, TABLE3: 43}
"""About, on two cores."""
CHOSEN = ("rounds", "seconds", "runs", "executor")
ALONE = {"hundred-images", "overload", TABLE3}
"""Parts that need nothing of .venv-peers."""


def main() -> None:
    """Measure the parts, print their tables, write them."""
    wish = _wish()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was started is stopped
    parts = wish.only or list(MINUTES)
    if not PYTHON.exists() and not ALONE.issuperset(parts):
        raise SystemExit(
            "The peers are not installed. Run scripts/bench-peers.sh, or choose among: " + ", ".join(sorted(ALONE))
        )
    about = "a minute each" if wish.quick else f"about {sum(MINUTES[part] for part in parts)} minutes"
    print(f"{', '.join(parts)}: {about}; images are drawn first", file=sys.stderr)
    with scratch() as home:
        run = Run(Material(Path(home), _size(wish)))
        failed = [part for part in parts if not _measured(run, part, wish)]
    sys.exit(f"not measured: {', '.join(failed)}" if failed else 0)


def _measured(run: Run, part: str, wish: argparse.Namespace) -> bool:
    """Measure a part. One that can't be measured keeps its old table and no other part from its new one."""
    try:
        _measure(run, part, wish)
    except (NotStartedError, LostRequestsError, LoadError) as error:
        print(f"{part}: {error}\nIts table stays as it was.", file=sys.stderr)
        return False
    return True


def _measure(run: Run, part: str, wish: argparse.Namespace) -> None:
    began, others = time.monotonic(), used_by_others()
    text = table3(run) if part == TABLE3 else markdown(HEADINGS, (line.cells for line in PARTS[part](run)))
    command = f"python -m benchmarks.serving --only {part}" + "".join(
        f" --{name} {value}" for name in CHOSEN if (value := getattr(wish, name)) is not None
    )
    peers = "" if part in ALONE else versions()
    took = f"It took {(time.monotonic() - began) / 60:.0f} min."
    whole = f"{head(command + (' --quick' if wish.quick else ''), peers, others)} {took}\n\n{text}"
    print(whole, flush=True)
    if wish.results is not None:
        write_between_marks(wish.results, f"serving {part}", whole)


def _size(wish: argparse.Namespace) -> Size:
    size = QUICK if wish.quick else Size()
    chosen = {name: getattr(wish, name) for name in CHOSEN if getattr(wish, name) is not None}
    return size._replace(**chosen)


def _wish() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(MINUTES), help="these parts")
    parser.add_argument(
        "--rounds",
        type=int,
        help="of the order A B B A; 3 when not given. Of 100 images at most 2, but for networks with a goal",
    )
    parser.add_argument("--seconds", type=float, help="of each measurement of throughput and overload; 10")
    parser.add_argument("--runs", type=int, help="of Table 3; 10, as the paper")
    parser.add_argument("--executor", help="what our networks run with, such as eager; auto: what was measured")
    parser.add_argument("--quick", action="store_true", help="shows that the harness works; the figures mean nothing")
    parser.add_argument("--results", type=Path, help="the file whose tables are replaced; benchmarks/RESULTS.md")
    wish = parser.parse_args()
    if wish.results is None and not wish.quick:
        wish.results = RESULTS
    return wish


if __name__ == "__main__":
    main()
