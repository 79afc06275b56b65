"""Table 3 of Liu et al. 2022: ten networks, 1 image and 100 images, means of ten runs; measured twice.

Cold, as the paper's program timed it: build the network, load its weights, decode, one image at a time. Warm, as we
serve: a request to the service, which has the network in memory. Only the first stands beside published numbers.
"""

import statistics
from collections.abc import Iterator, Sequence

from benchmarks.serving.load import Plan
from benchmarks.serving.ours import IN_PROCESS, Pod
from benchmarks.serving.peers import Eager
from benchmarks.serving.rows import title
from benchmarks.serving.running import Run, sound
from benchmarks.serving.table import markdown

Cells = tuple[str, ...]
COLD, WARM = "cold, as the paper's program", "warm, as we serve"
_HOW = {
    COLD: "Means in seconds, and the runs that they are of: of 1 image until its first answer, of all until the last.",
    WARM: "Means in seconds, and the requests that they are of, the quickest first.",
}
_PUBLISHED = (
    "Published for the paper's own program and machine (its abstract): 0.109 s for one image with MobileNet-v2; "
    "it stands beside the cold figures only."
)


def table3(run: Run) -> str:
    """Both tables."""
    run.begin("table3", 3 * run.size.runs * len(run.size.networks))
    cold, warm = list(_cold(run)), list(_warm(run))
    many = f"{run.size.images} images"
    headings = ("network", "1 image", many, "ratio", "runs of 1 image", f"runs of {many}")
    tables = (f"**{name}.** {_HOW[name]}\n\n{markdown(headings, rows)}" for name, rows in ((COLD, cold), (WARM, warm)))
    return "\n\n".join((*tables, _PUBLISHED))


def _cold(run: Run) -> Iterator[Cells]:
    for network in run.size.networks:
        with Eager(run.material) as eager:
            eager.cold(network, 1)  # torch itself is loaded, as it was in the paper's program
            runs = []
            for _ in range(run.size.runs):
                runs.append(eager.cold(network, run.size.images))
                run.progress.told("a run", runs[-1][1])
            yield row(title(network), *zip(*runs, strict=True))


def _warm(run: Run) -> Iterator[Cells]:
    for network in run.size.networks:
        with Pod(run.material, IN_PROCESS, [network]) as pod:
            asked = (plan(network, warm=warm, requests=run.size.runs) for plan, warm in ((pod.one, 5), (pod.all, 1)))
            yield row(title(network), *(_answered(run, plan) for plan in asked))


def _answered(run: Run, plan: Plan) -> list[float]:
    seconds = [each / 1000 for each in sound(plan).milliseconds]
    for each in seconds:
        run.progress.told("a run", each)
    return seconds


def row(name: str, one: Sequence[float], many: Sequence[float]) -> Cells:
    """Of one network: means, their ratio, and the runs (seconds)."""
    first, last = statistics.fmean(one), statistics.fmean(many)
    listed = (", ".join(f"{value:.3f}" for value in one), ", ".join(f"{value:.2f}" for value in many))
    return (name, f"{first:.3f}", f"{last:.2f}", f"{last / first:.1f}", *listed)
