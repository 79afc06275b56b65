"""A pod that is asked ten times as much as it can answer, too late, or by somebody who leaves."""

import http.client
import io
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import NamedTuple, TypeVar

import grpc
import httpx
import pytest
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families

from aimic.rpc.v1 import inference_pb2 as wire
from aimic.rpc.v1.inference_pb2_grpc import InferenceStub
from benchmarks.serving.load import HOST, Outcome, Plan, measure
from benchmarks.serving.material import MULTIPART, Material, Size, multipart
from benchmarks.serving.ours import IN_PROCESS, Pod
from tests.patience import patiently

Refused = TypeVar("Refused")
NETWORK = "mobilenet_v2"
"""At this size one image takes long, so that the load needs few requests and hardly any of the machine."""
SIZE = Size(images=4, side=64, network_side=320, executor="eager")
OVER = 10
SECONDS = 6.0
CALLERS = 3
"""By REST, and as many by gRPC, who ask meanwhile and look at how they are refused."""
WAITING = 24
"""Images that a burst may have before it (services/inference/admission.py): a queue without bounds has 512."""


class Scene(NamedTuple):
    """A pod, and its answers a second when eight ask without a pause."""

    pod: Pod
    plan: Plan
    image: bytes
    capacity: float


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    material = Material(tmp_path_factory.mktemp("overload"), SIZE)
    with Pod(material, IN_PROCESS, [NETWORK]) as pod:
        plan = pod.one(NETWORK)
        capacity = measure(plan.model_copy(update={"warm": 3, "clients": 8, "seconds": 3.0})).rate
        yield Scene(pod, plan, plan.bodies[0].read_bytes(), capacity)


def metric(pod: Pod, name: str) -> float:
    """The sum of all samples of this name."""
    text = httpx.get(f"http://{HOST}:{pod.ops}/metrics", timeout=60).text
    samples = (each for family in text_string_to_metric_families(text) for each in family.samples)
    return sum(each.value for each in samples if each.name == name)


def computed(pod: Pod) -> float:
    """Images that went through the network."""
    return metric(pod, "aimic_inference_batch_images_sum")


def begins(pod: Pod, before: float) -> None:
    """Until the network has computed something more."""

    def begun() -> None:
        assert computed(pod) > before

    patiently(begun, AssertionError)


def comes_to_rest(pod: Pod) -> None:
    """Until nobody is being answered."""

    def rests() -> None:
        assert metric(pod, "aimic_inference_images_in_flight") == 0

    patiently(rests, AssertionError)


def large_picture() -> bytes:
    """Few bytes, and many pixels."""
    file = io.BytesIO()
    Image.new("RGB", (8000, 8000)).save(file, "PNG")
    return file.getvalue()


def ask(scene: Scene, *images: bytes, deadline_ms: int = 60_000) -> httpx.Response:
    headers = {"content-type": MULTIPART, "x-deadline-ms": str(deadline_ms)}
    url = f"http://{HOST}:{scene.plan.port}{scene.plan.target}"
    return httpx.post(url, content=multipart(images), headers=headers, timeout=120)


def refused_by_rest(scene: Scene) -> httpx.Response | None:
    answer = ask(scene, scene.image)
    return None if answer.status_code == 200 else answer


def refused_by_grpc(scene: Scene, stub: InferenceStub) -> grpc.Call | None:
    request = wire.PredictRequest(model=NETWORK, images=[wire.Image(data=scene.image)])
    call = stub.Predict.future(request, timeout=60)
    return None if call.exception() is None else call


class Flood:
    """Ten times what the pod can answer, for some seconds, from a process of its own."""

    def __init__(self, scene: Scene) -> None:
        plan = scene.plan.model_copy(update={"rate": OVER * scene.capacity, "seconds": SECONDS})
        self._pool = ThreadPoolExecutor(1 + 2 * CALLERS)
        self._load = self._pool.submit(measure, plan)

    def refusals(self, ask: Callable[[], Refused | None]) -> "list[Future[Refused | None]]":
        """How callers are refused who ask again and again while it lasts; None for who was always answered."""

        def insist() -> Refused | None:
            refused = None
            while refused is None and not self._load.done():
                refused = ask()
            return refused

        return [self._pool.submit(insist) for _ in range(CALLERS)]

    def outcome(self) -> Outcome:
        found = self._load.result()
        self._pool.shutdown()
        return found


def test_who_is_admitted_waits_no_longer_and_the_others_are_told_at_once(scene: Scene) -> None:
    flood = Flood(scene)
    with grpc.insecure_channel(f"{HOST}:{scene.pod.grpc}") as channel:
        by_rest = flood.refusals(partial(refused_by_rest, scene))
        by_grpc = flood.refusals(partial(refused_by_grpc, scene, InferenceStub(channel)))
        outcome = flood.outcome()

    problem = next(refused for caller in by_rest if (refused := caller.result()) is not None)
    assert problem.status_code == 429, problem.text
    assert int(problem.headers["retry-after"]) >= 1 and problem.json()["code"] == "overloaded"
    call = next(said for caller in by_grpc if (said := caller.result()) is not None)
    assert call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED, call
    assert int(dict(call.trailing_metadata())["retry-after"]) >= 1

    # Nobody hangs, nobody gets anything but an answer or a refusal; and the network works on.
    assert outcome.failed == 0
    assert outcome.refused and outcome.milliseconds
    # By Little's law, so that the machine's speed doesn't matter: how many were before who was admitted.
    ahead = {share: outcome.rate * outcome.quantile(share) / 1000 for share in (0.5, 0.99)}
    assert ahead[0.5] < 2 * WAITING and ahead[0.99] < 5 * WAITING, (ahead, scene.capacity, outcome.rate)
    refused_ms = outcome.refused_ms[len(outcome.refused_ms) // 2]
    assert refused_ms < outcome.quantile(0.5) / 2, "to be refused took as long as to be answered"

    comes_to_rest(scene.pod)
    assert httpx.get(f"http://{HOST}:{scene.pod.ops}/readyz", timeout=60).status_code == 200
    assert ask(scene, scene.image).status_code == 200


def test_what_can_only_come_too_late_is_told_so_and_not_computed(scene: Scene) -> None:
    before, busy, hasty = computed(scene.pod), 64, 8
    # Nobody else is there, so that it is admitted; and nobody decodes so large a picture in time.
    late = ask(scene, large_picture(), deadline_ms=20)
    assert (late.status_code, late.json()["code"]) == (504, "deadline")
    with ThreadPoolExecutor() as callers:
        large = callers.submit(ask, scene, *[scene.image] * busy)
        begins(scene.pod, before)
        answers = list(callers.map(lambda _: ask(scene, scene.image, deadline_ms=10), range(hasty)))
    told = {answer.status_code: answer.json()["code"] for answer in answers}
    assert told.items() <= {504: "deadline", 429: "overloaded"}.items()
    assert large.result().status_code == 200
    comes_to_rest(scene.pod)
    assert busy <= computed(scene.pod) - before <= busy + 1


def test_who_leaves_costs_nothing_more(scene: Scene) -> None:
    before, images = computed(scene.pod), 250
    caller = http.client.HTTPConnection(HOST, scene.plan.port, timeout=60)
    caller.request("POST", scene.plan.target, multipart([scene.image] * images), {"content-type": MULTIPART})

    begins(scene.pod, before)
    caller.close()
    comes_to_rest(scene.pod)
    assert computed(scene.pod) - before < images
    assert ask(scene, scene.image).status_code == 200
