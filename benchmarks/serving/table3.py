"""Table 3 of Liu et al. 2022: ten networks, 1 image and 100 images, means of ten runs; measured twice.

Cold, as the paper's program timed it: build the network, load its weights, decode, one image at a time. Warm, as we
serve: a request to the service, which has the network in memory. Only the first stands beside published numbers.
"""

import statistics
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from benchmarks.serving.load import Plan
from benchmarks.serving.ours import IN_PROCESS, Pod
from benchmarks.serving.peers import Eager
from benchmarks.serving.rows import title
from benchmarks.serving.running import Run, sound
from benchmarks.serving.table import markdown

Cells = tuple[str, ...]
COLD, WARM = "cold, as the paper's program", "warm, as we serve"
_HOW = "Means in seconds, and the runs that they are of."
_PUBLISHED = (
    "Published for the paper's own program and machine (its abstract): 0.109 s for one image with MobileNet-v2; "
    "it stands beside the cold figures only."
)


def table3(run: Run) -> str:
    """Both tables."""
    run.begin("table3", 4 * run.size.runs * len(run.size.networks))
    cold, warm = list(_cold(run)), list(_warm(run))
    many = f"{run.size.images} images"
    headings = ("network", "1 image", many, "ratio", "runs of 1 image", f"runs of {many}")
    tables = (f"**{name}.** {_HOW}\n\n{markdown(headings, rows)}" for name, rows in ((COLD, cold), (WARM, warm)))
    return "\n\n".join((*tables, _PUBLISHED))


def _cold(run: Run) -> Iterator[Cells]:
    for network in run.size.networks:
        with Eager(run.material) as eager:
            eager.seconds("cold", network, 1)  # torch itself is loaded, as it was in the paper's program
            one, many = (partial(eager.seconds, "cold", network, images) for images in (1, run.size.images))
            yield row(title(network), _runs(run, one), _runs(run, many))


def _warm(run: Run) -> Iterator[Cells]:
    for network in run.size.networks:
        with Pod(run.material, IN_PROCESS, [network]) as pod:
            one, many = (
                partial(_answered, plan(network, warm=warm, requests=1))
                for plan, warm in ((pod.one, 5), (pod.all, 1))
            )  # fmt: skip
            yield row(title(network), _runs(run, one), _runs(run, many))


def _answered(plan: Plan) -> float:
    return sound(plan).milliseconds[0] / 1000


def _runs(run: Run, once: Callable[[], float]) -> list[float]:
    seconds = []
    for _ in range(run.size.runs):
        seconds.append(once())
        run.progress.told("a run", seconds[-1])
    return seconds


def row(name: str, one: Sequence[float], many: Sequence[float]) -> Cells:
    """Of one network: means, their ratio, and the runs (seconds)."""
    first, last = statistics.fmean(one), statistics.fmean(many)
    listed = (", ".join(f"{value:.3f}" for value in one), ", ".join(f"{value:.2f}" for value in many))
    return (name, f"{first:.3f}", f"{last:.2f}", f"{last / first:.1f}", *listed)
