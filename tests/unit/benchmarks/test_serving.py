"""The arithmetic and the words of benchmarks.serving, and that both sides of it do the same work."""

from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from aimic.nets import bundle
from aimic.nets.forward import logits_of
from aimic.nets.preprocessing import to_pixels
from aimic.nets.statefile import read_bundle_states
from aimic.nets.zoo import restore
from benchmarks.serving import eager, rows, running, table3
from benchmarks.serving.abba import Spread, geometric, interleave, ratio, spread
from benchmarks.serving.load import Outcome, Plan, quantile, request
from benchmarks.serving.material import BOUNDARY, CLASSES, QUICK, Material, Size, multipart
from benchmarks.serving.ours import Registry
from benchmarks.serving.peers import model_file
from benchmarks.serving.table import HEADINGS, Goal, Line, markdown, not_run
from benchmarks.serving.table3 import row
from services.inference.rest.multipart import ImageParts


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Material:
    return Material(tmp_path_factory.mktemp("material"), QUICK)


def test_sides_are_measured_forth_and_back_and_each_ratio_is_of_neighbours() -> None:
    asked: list[str] = []
    values = iter((4.0, 1.0, 2.0, 6.0, 3.0, 1.0, 1.0, 9.0))

    def side(name: str) -> float:
        asked.append(name)
        return next(values)

    measured = interleave({"A": lambda: side("A"), "B": lambda: side("B")}, 2)
    assert "".join(asked) == "ABBAABBA"
    assert measured == {"A": [4.0, 6.0, 3.0, 9.0], "B": [1.0, 2.0, 1.0, 1.0]}
    assert ratio(measured["A"], measured["B"]) == Spread(3.5, 3.0, 9.0)
    with pytest.raises(ValueError, match="shorter"):
        ratio([1.0, 2.0], [1.0])


def test_the_mean_of_ratios_is_geometric() -> None:
    assert geometric([Spread(2, 1, 4), Spread(8, 4, 9)]) == pytest.approx((4, 2, 6))


@pytest.mark.parametrize(("share", "value"), [(0.5, 2.0), (0.75, 3.0), (0.99, 4.0), (0.0, 1.0)])
def test_a_quantile_is_a_value_that_was_measured(share: float, value: float) -> None:
    assert quantile([1.0, 2.0, 3.0, 4.0], share) == value


def test_goals_are_judged_by_the_median_and_a_miss_says_by_how_much() -> None:
    assert Goal(4).judged(Spread(4.0, 3.0, 5.0)) == "met"
    assert Goal(4).judged(Spread(3.0, 2.0, 9.0)) == "missed: 0.75 of it"
    assert Goal(2, least=False).judged(Spread(1.9, 1.0, 3.0)) == "met"
    assert Goal(2, least=False).judged(Spread(3.0, 1.0, 3.0)) == "missed: 1.50 of it"


def test_the_table_says_what_was_measured_and_what_could_not_be() -> None:
    measured = Line("1 image", "a peer", Goal(4), spread([5.0, 4.0, 6.0]), "ours: 1 ms", "peer: 5 ms")
    lines = (measured, not_run("1 image", "a peer", Goal(4), "no | such\npod"))
    assert markdown(HEADINGS, [line.cells for line in lines]).splitlines()[2:] == [
        "| 1 image | a peer | ≥ 4× | 5.00× (4.00–6.00) | met | ours: 1 ms | peer: 5 ms |",
        "| 1 image | a peer | ≥ 4× | – | not run | no / such pod | – |",
    ]


def _outcome(**more: Any) -> Outcome:
    some: dict[str, Any] = {"milliseconds": (5.0,) * 40, "refused": 0, "failed": 0, "unsent": 0}
    return Outcome(**{**some, "seconds": 2.0, "late_ms": 1.0, **more})


PLAN = Plan(port=80, target="/predict", content_type="image/jpeg", bodies=())


@pytest.mark.parametrize("lost", [{"failed": 1}, {"milliseconds": (), "refused": 9}])
def test_a_load_that_lost_requests_gives_no_figure(lost: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """However quick those were that had an answer."""
    monkeypatch.setattr(running, "measure", lambda _: _outcome(**lost))
    for measured in (running.sound, running.borne):
        with pytest.raises(running.LostRequestsError):
            measured(PLAN)


def test_only_an_overloaded_server_may_refuse(monkeypatch: pytest.MonkeyPatch) -> None:
    refusing = _outcome(refused=9)
    monkeypatch.setattr(running, "measure", lambda _: refusing)
    assert running.borne(PLAN) == refusing
    with pytest.raises(running.LostRequestsError, match="9 were refused"):
        running.sound(PLAN)


def test_the_overload_tells_what_was_refused_and_what_the_load_itself_left_undone(
    monkeypatch: pytest.MonkeyPatch, material: Material
) -> None:
    rates: list[float | None] = []

    def measure(plan: Plan) -> Outcome:
        rates.append(plan.rate)
        over = plan.rate is not None and plan.rate > 20
        return _outcome(refused=300, unsent=14, late_ms=8.0) if over else _outcome()

    monkeypatch.setattr(running, "measure", measure)
    monkeypatch.setattr(rows, "Pod", lambda *_: nullcontext(SimpleNamespace(one=lambda _: PLAN)))
    (line,) = rows.overload(running.Run(material))
    assert rates == [None, 20.0, 200.0, 200.0, 20.0]
    assert "refused 150/s (150–150), never sent 7/s (7–7); 99 % sent no later than 8 ms" in line.ours
    assert "refused 0/s (0–0), never sent 0/s (0–0); 99 % sent no later than 1 ms" in line.theirs

    monkeypatch.setattr(running, "measure", lambda plan: _outcome(failed=int(plan.rate == 200.0)))
    with pytest.raises(running.LostRequestsError):
        list(rows.overload(running.Run(material)))


def test_a_row_of_table_3_has_means_their_ratio_and_all_runs() -> None:
    assert row("Net", [0.1, 0.3], [8.0, 12.0]) == ("Net", "0.200", "10.00", "50.0", "0.100, 0.300", "8.00, 12.00")


def test_a_cold_run_of_one_image_is_the_start_of_one_of_many(material: Material) -> None:
    network = QUICK.small
    state, side = str(material.state(network)), material.image_size(network)
    question: dict[str, Any] = {"network": network, "classes": len(CLASSES), "state": state, "side": side}
    first, last = eager.cold({**question, "files": [str(file) for file in material.images[:4]]})
    assert 0 < first < last
    only, same = eager.cold({**question, "files": [str(material.images[0])]})
    assert only == same > 0


def test_table_3_lists_the_runs_of_both(monkeypatch: pytest.MonkeyPatch, material: Material) -> None:
    """Cold, one image is the start of all; warm, the server is warmed once and then asked for all runs."""
    asked: list[Plan] = []

    def measure(plan: Plan) -> Outcome:
        asked.append(plan)
        return _outcome(milliseconds=tuple(1000.0 * number for number in range(1, (plan.requests or 0) + 1)))

    script = SimpleNamespace(cold=lambda _, images: (0.25, float(images)))
    pod = SimpleNamespace(one=lambda _, **more: PLAN.model_copy(update=more))
    pod.all = pod.one
    monkeypatch.setattr(running, "measure", measure)
    monkeypatch.setattr(table3, "Eager", lambda _: nullcontext(script))
    monkeypatch.setattr(table3, "Pod", lambda *_: nullcontext(pod))
    cold, warm = table3.table3(running.Run(material)).split("**warm")
    assert "| 0.250 | 20.00 | 80.0 | 0.250, 0.250 | 20.00, 20.00 |" in cold
    assert "| 1.500 | 1.50 | 1.0 | 1.000, 2.000 | 1.00, 2.00 |" in warm
    assert [(plan.warm, plan.requests) for plan in asked] == [(5, 2), (1, 2)]


def test_networks_with_a_goal_get_all_rounds_and_the_others_fewer(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[str] = []

    def batch(network: str, _: int) -> float:
        asked.append(network)
        return 8.0

    pod = SimpleNamespace(all=lambda _, **more: PLAN, executor=lambda _: "some")
    monkeypatch.setattr(running, "measure", lambda _: _outcome())
    monkeypatch.setattr(rows, "Eager", lambda _: nullcontext(SimpleNamespace(batch=batch)))
    monkeypatch.setattr(rows, "Pod", lambda *_: nullcontext(pod))
    run = running.Run(Material(tmp_path, Size(networks=("mobilenet_v2", "vgg16"))))
    *lines, mean = rows.hundred_images(run)
    # Once to warm it, then twice a round.
    assert Counter(asked) == {"mobilenet_v2": 1 + 2 * 3, "vgg16": 1 + 2 * 2}
    assert (run.progress.done, len(lines)) == (run.progress.steps, 2) == (20, 2)
    assert mean.ratio is not None and mean.ratio.median == pytest.approx(1600)


def test_the_body_of_many_images_is_what_our_service_reads() -> None:
    images = [b"one\r\n--", b"", b"\x00" * 300]
    parts = ImageParts(BOUNDARY.encode(), "images", 1000, 10)
    parts.feed(multipart(images))
    assert [image.data for image in parts.finish()] == images


def test_a_request_is_http_with_its_length() -> None:
    plan = Plan(port=80, target="/predict", content_type="image/jpeg", bodies=())
    lines = request(plan, b"body").split(b"\r\n")
    assert lines[0] == b"POST /predict HTTP/1.1"
    assert {b"content-type: image/jpeg", b"content-length: 4"} < set(lines)
    assert lines[-2:] == [b"", b"body"]


def test_the_registry_lists_hands_out_and_keeps_the_first_choice(material: Material) -> None:
    registry = Registry(material, QUICK.networks)
    assert material.bundle(QUICK.small).hash.encode() in (registry.get("/api/v1/serving?limit=9") or b"")
    assert registry.get(f"/{QUICK.small}.tar") == material.bundle(QUICK.small).file.read_bytes()
    choice = f"/api/v1/models/{QUICK.small}/versions/1/executors/some-machine"
    assert registry.get(choice) is None
    assert registry.put(choice, b"first") == registry.put(choice, b"second") == b"first"
    # The next pod finds it: it is measured once for all of them.
    assert Registry(material, QUICK.networks).get(choice) == b"first"
    assert registry.put("/api/v1/other", b"") is None


def test_a_script_and_our_service_do_the_same_work(material: Material) -> None:
    network, file = QUICK.small, material.images[3]
    question = {"network": network, "classes": len(CLASSES), "state": str(material.state(network))}
    side = material.image_size(network)
    with torch.inference_mode():
        theirs = eager.build(question)(eager.read(file, eager.transform(side)).unsqueeze(0)).numpy()
    made = material.bundle(network).file.parent / "made"
    info = bundle.inspect(made).info
    nets = [restore(info, state) for state in read_bundle_states(made, info)]
    ours = logits_of(nets, to_pixels(file.read_bytes(), info.preprocessing)[None])
    assert np.ptp(ours) > 0.1
    np.testing.assert_allclose(ours, theirs, atol=0.01)


@pytest.mark.parametrize("network", ["mobilenet_v2", "resnet50", "shufflenet_v2_x1_0"])
def test_torchserves_model_file_takes_our_weights(network: str, material: Material) -> None:
    module: dict[str, Any] = {"__name__": "model"}
    exec(compile(model_file(network), "model.py", "exec"), module)
    defined = [each for each in module.values() if isinstance(each, type) and each.__module__ == "model"]
    assert len(defined) == 1
    with torch.device("meta"):
        net = defined[0]()
    found = net.load_state_dict(torch.load(material.state(network), weights_only=True), assign=True)
    assert (found.missing_keys, found.unexpected_keys) == ([], [])
