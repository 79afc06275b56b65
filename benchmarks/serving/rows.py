"""The lines of the table of issue 5: one function each. Times are those that a client sees, over HTTP."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from functools import partial

from aimic.domain.networks import NETWORKS
from benchmarks.serving.abba import Measured, Spread, geometric, ratio, spread
from benchmarks.serving.load import Outcome, Plan
from benchmarks.serving.ours import IN_PROCESS, ON_TORCHSERVE, PODS, Pod
from benchmarks.serving.peers import EAGER, LITSERVE, TORCHSERVE, Eager, LitServe, TorchServe
from benchmarks.serving.programs import NotStartedError, busy_core
from benchmarks.serving.running import Run, borne, sound
from benchmarks.serving.table import Goal, Line, not_run

CLIENTS = 8
OVER = 10
WARM = 10
_ONE_IMAGE = (4.0, 1.5)
_HUNDRED = {"mobilenet_v2": 8.0, "resnet50": 2.5}
_FEWER = 2
_MEAN_OF_TEN = Goal(3.0)
Heard = dict[str, list[Outcome]]


def one_image(run: Run) -> Iterator[Line]:
    """One image, bytes to answer, warm, one client."""
    size = run.size
    networks = tuple(dict.fromkeys((size.small, size.large)))
    run.begin("one-image", 2 * size.rounds * len(networks) * (1 + len(PODS)))
    for network, bound in zip(networks, _ONE_IMAGE, strict=False):
        work, goal = f"1 image, {title(network)}", Goal(bound)
        with ExitStack() as started:
            theirs = started.enter_context(TorchServe(run.material, [network])).wait_ready().one(network)
            heard: Heard = defaultdict(list)
            sides = {TORCHSERVE: partial(median_ms, run, theirs, heard[TORCHSERVE])}
            pods, missing = _pods(run, started, [network])
            sides |= {kind: partial(median_ms, run, pod.one(network), heard[kind]) for kind, pod in pods.items()}
            measured = run.interleave(sides)
            for kind, pod in pods.items():
                ours = _named(measured, kind, " ms", f"{tails(heard[kind])}, {pod.executor(network)}")
                quicker = ratio(measured[TORCHSERVE], measured[kind])
                peer = _named(measured, TORCHSERVE, " ms", tails(heard[TORCHSERVE]))
                yield Line(work, TORCHSERVE, goal, quicker, ours, peer)
        yield from (not_run(work, TORCHSERVE, goal, f"{kind}: {why}") for kind, why in missing.items())


def hundred_images(run: Run) -> Iterator[Line]:
    """A request of 100 images against a script that has them in one batch, for each network: in fewer rounds for those
    that have no goal but in the mean."""
    size = run.size
    rounds = {name: size.rounds if name in _HUNDRED else min(size.rounds, _FEWER) for name in size.networks}
    run.begin("hundred-images", 4 * sum(rounds.values()))
    quicker: list[Spread] = []
    for network in size.networks:
        with Eager(run.material) as eager, Pod(run.material, IN_PROCESS, [network]) as pod:
            ask = pod.all(network, warm=1, requests=1)
            theirs = partial(eager.batch, network, size.images)
            theirs()
            measured = run.interleave({EAGER: theirs, IN_PROCESS: partial(_seconds, ask)}, rounds[network])
            quicker.append(ratio(measured[EAGER], measured[IN_PROCESS]))
            goal = Goal(_HUNDRED[network]) if network in _HUNDRED else None
            ours = _named(measured, IN_PROCESS, " s", pod.executor(network), 2)
            work = f"{size.images} images, {title(network)}"
            yield Line(work, EAGER, goal, quicker[-1], ours, _named(measured, EAGER, " s", digits=2))
    work = f"{size.images} images, geometric mean of {len(quicker)}"
    yield Line(work, EAGER, _MEAN_OF_TEN, geometric(quicker), "–", "–")


def busy(run: Run) -> Iterator[Line]:
    """The median of one client while a stranger keeps one core busy."""
    network = run.size.small
    run.begin("busy-core", 8 * run.size.rounds)
    with ExitStack() as started:
        peer = started.enter_context(TorchServe(run.material, [network])).wait_ready().one(network)
        pod = started.enter_context(Pod(run.material, IN_PROCESS, [network]))
        stranger = partial(busy_core, run.material.home / "stranger")
        ours, theirs, crowded = "ours", "theirs", " beside a busy core"
        measured = run.interleave(
            {
                theirs: partial(_beside, nullcontext, run, peer),
                theirs + crowded: partial(_beside, stranger, run, peer),
                ours + crowded: partial(_beside, stranger, run, pod.one(network)),
                ours: partial(_beside, nullcontext, run, pod.one(network)),
            }
        )
    work = f"p50 of 1 image, {title(network)}, one foreign busy core"
    own = _named(measured, ours + crowded, " ms")
    lower = ratio(measured[theirs + crowded], measured[ours + crowded])
    yield Line(work, TORCHSERVE, Goal(5.0), lower, own, _named(measured, theirs + crowded, " ms"))
    slower = ratio(measured[ours + crowded], measured[ours])
    yield Line(work, "itself alone", Goal(3.0, least=False), slower, own, _named(measured, ours, " ms"))
    theirs_slower = ratio(measured[theirs + crowded], measured[theirs])
    yield Line(f"{work}, {TORCHSERVE}'s own", "itself alone", None, theirs_slower, "–", _named(measured, theirs, " ms"))


def throughput(run: Run) -> Iterator[Line]:
    """Answers a second for eight clients."""
    network = run.size.small
    run.begin("throughput", 2 * run.size.rounds * (2 + len(PODS)))
    with ExitStack() as started:
        plans = {
            TORCHSERVE: started.enter_context(TorchServe(run.material, [network])).wait_ready().one(network),
            LITSERVE: started.enter_context(LitServe(run.material, network)).wait_ready().one(),
        }
        pods, missing = _pods(run, started, [network])
        plans |= {kind: pod.one(network) for kind, pod in pods.items()}
        measured = run.interleave({name: partial(answers_a_second, run, plan) for name, plan in plans.items()})
    work = f"throughput, {CLIENTS} clients, {title(network)}"
    for peer, goal in ((TORCHSERVE, Goal(3.0)), (LITSERVE, Goal(2.5))):
        for kind in pods:
            more = ratio(measured[kind], measured[peer])
            yield Line(work, peer, goal, more, _named(measured, kind, "/s"), _named(measured, peer, "/s"))
        yield from (not_run(work, peer, goal, f"{kind}: {why}") for kind, why in missing.items())


def overload(run: Run) -> Iterator[Line]:
    """The slowest hundredth of the admitted, at ten times what it can bear against at just that."""
    run.begin("overload", 4 * run.size.rounds)
    network = run.size.small
    heard: Heard = defaultdict(list)
    with Pod(run.material, IN_PROCESS, [network]) as pod:
        plan = pod.one(network)
        capacity = answers_a_second(run, plan)
        sides = {
            name: partial(_slowest, run, plan, rate, heard[name])
            for name, rate in (("at capacity", capacity), ("overloaded", OVER * capacity))
        }
        measured = run.interleave(sides)
    over = ratio(measured["overloaded"], measured["at capacity"])
    said, at_it = (
        f"{spread(measured[name]).words(' ms', 0)}; {fates(heard[name])}" for name in ("overloaded", "at capacity")
    )
    work = f"p99 of the admitted at {OVER}× overload, {title(network)}"
    goal = Goal(2.0, least=False)
    yield Line(work, "itself at capacity", goal, over, said, f"{at_it}; capacity {capacity:.1f}/s")


PARTS: dict[str, Callable[[Run], Iterator[Line]]] = {
    "one-image": one_image,
    "hundred-images": hundred_images,
    "busy-core": busy,
    "throughput": throughput,
    "overload": overload,
}


def title(network: str) -> str:
    """As papers call it."""
    return NETWORKS[network].title


def median_ms(run: Run, plan: Plan, heard: list[Outcome]) -> float:
    """Milliseconds of one request of one client, the median of many. All of them go to `heard`."""
    heard.append(sound(plan.model_copy(update={"warm": WARM, "requests": run.size.requests})))
    return heard[-1].quantile(0.5)


def tails(heard: Sequence[Outcome]) -> str:
    """The slower requests: medians over the measurements."""
    quantiles = ((share, spread([outcome.quantile(share / 100) for outcome in heard])) for share in (95, 99))
    return ", ".join(f"p{share} {found.median:.1f}" for share, found in quantiles)


def fates(heard: Sequence[Outcome]) -> str:
    """What became of the requests of an open loop, and whether the load could keep its own pace."""
    answered = spread([outcome.rate for outcome in heard]).words("/s")
    refused = spread([outcome.refused / outcome.seconds for outcome in heard]).words("/s", 0)
    unsent = spread([outcome.unsent / outcome.seconds for outcome in heard]).words("/s", 0)
    late = spread([outcome.late_ms for outcome in heard]).words(" ms", 0)
    return f"answered {answered}, refused {refused}, never sent {unsent}; 99 % sent no later than {late} after time"


def answers_a_second(run: Run, plan: Plan) -> float:
    """For eight clients that ask again when they have their answer."""
    return sound(plan.model_copy(update={"warm": WARM, "clients": CLIENTS, "seconds": run.size.seconds})).rate


def _pods(run: Run, started: ExitStack, networks: list[str]) -> tuple[dict[str, Pod], dict[str, str]]:
    """Both kinds of pod, started; of those that can't be, why."""
    pods, missing = {}, {}
    for kind in (IN_PROCESS, ON_TORCHSERVE):
        try:
            pods[kind] = started.enter_context(Pod(run.material, kind, networks))
        except NotStartedError as error:
            missing[kind] = str(error)
    return pods, missing


def _seconds(plan: Plan) -> float:
    return sound(plan).milliseconds[0] / 1000


def _beside(neighbour: Callable[[], AbstractContextManager[None]], run: Run, plan: Plan) -> float:
    with neighbour():
        return median_ms(run, plan, [])


def _slowest(run: Run, plan: Plan, rate: float, heard: list[Outcome]) -> float:
    heard.append(borne(plan.model_copy(update={"warm": WARM, "rate": rate, "seconds": run.size.seconds})))
    return heard[-1].quantile(0.99)


def _named(measured: Measured, name: str, unit: str, how: str = "", digits: int = 1) -> str:
    words = spread(measured[name]).words(unit, digits)
    return f"{name}: {words}{f', {how}' if how else ''}"
