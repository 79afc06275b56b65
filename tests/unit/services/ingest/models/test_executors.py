"""With what a bundle runs: the first machine of a class that tells decides for all of them."""

from typing import Any

import pytest

MACHINE = "amd-epyc-avx512f-2t"
PATH = "/api/v1/models/cells-resnet34/versions/{version}/executors/{machine}"


def _choice(bundle_hash: str, executor: str = "openvino-fp32-cpu", machine: str = MACHINE) -> dict[str, Any]:
    return {
        "bundle_hash": bundle_hash,
        "machine_class": machine,
        "executor": executor,
        "timings": [{"executor": executor, "one_s": 0.004, "many_s": 0.2, "images": 32}],
        "admissions": [
            {
                "executor": executor,
                "judged_on": "check inputs",
                "images": 32,
                "labels_changed": 0,
                "abstentions_changed": 0,
                "largest_difference": 1e-6,
                "admitted": True,
            }
        ],
        "libraries": {"openvino": "2026.4.1"},
    }


@pytest.fixture
def bundle(scene: Any) -> str:
    """The hash of a registered version's bundle."""
    scene.finish_all(scene.start())
    return str(scene.client.get("/api/v1/models/cells-resnet34").json()["bundle_hash"])


def test_the_first_to_tell_decides(scene: Any, bundle: str) -> None:
    path = PATH.format(version=1, machine=MACHINE)
    assert scene.client.get(path).status_code == 404
    told = scene.client.put(path, json=_choice(bundle))
    assert told.status_code == 200, told.text
    assert told.json()["executor"] == "openvino-fp32-cpu"
    later = scene.client.put(path, json=_choice(bundle, "onnxruntime-fp32-cpu"))
    assert later.status_code == 200 and later.json() == told.json() == scene.client.get(path).json()
    assert told.json()["admissions"][0]["images"] == 32
    actions = [entry["action"] for entry in scene.client.get("/api/v1/audit").json()["items"]]
    assert actions.count("model.executor") == 1


def test_each_class_of_machines_has_its_own(scene: Any, bundle: str) -> None:
    other = "intel-xeon-amx_bf16-8t"
    scene.client.put(PATH.format(version=1, machine=MACHINE), json=_choice(bundle))
    path = PATH.format(version=1, machine=other)
    assert scene.client.get(path).status_code == 404
    told = scene.client.put(path, json=_choice(bundle, "onnxruntime-fp32-cpu", other))
    assert told.json()["executor"] == "onnxruntime-fp32-cpu"


def test_versions_of_one_bundle_share_it(scene: Any, bundle: str) -> None:
    scene.client.put(PATH.format(version=1, machine=MACHINE), json=_choice(bundle))
    scene.finish_all(scene.start())  # the same weights again
    again = scene.client.get("/api/v1/models/cells-resnet34/versions/2").json()
    assert again["bundle_hash"] == bundle
    assert scene.client.get(PATH.format(version=2, machine=MACHINE)).json()["executor"] == "openvino-fp32-cpu"


def test_what_does_not_belong_there_is_refused(scene: Any, bundle: str) -> None:
    path = PATH.format(version=1, machine=MACHINE)
    assert scene.client.put(path, json=_choice("ab" * 32)).status_code == 422
    assert scene.client.put(path, json=_choice(bundle, machine="another-2t")).status_code == 422
    assert scene.client.put(path, json=_choice(bundle, "../../etc")).status_code == 422
    assert scene.client.put(PATH.format(version=1, machine="No Class"), json=_choice(bundle)).status_code == 422
    assert scene.client.put(PATH.format(version=7, machine=MACHINE), json=_choice(bundle)).status_code == 404
    assert scene.client.get(path).status_code == 404
