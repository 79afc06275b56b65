"""Where weights are looked for, how they are read, and what is said when they don't fit."""

import shutil
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from aimic.errors import CorruptError, InvalidInputError, TooLargeError
from aimic.nets import statefile
from aimic.nets.bundle import bundle_hash
from aimic.nets.net import Net
from aimic.nets.package import Training, package
from aimic.nets.statefile import read_state
from aimic.nets.weights import TORCHVISION_LICENCE, Weights, file_sha256, resolve, torchvision_entry
from aimic.nets.zoo import build

NETWORK = "shufflenet_v2_x1_0"
ORIGINAL = torchvision_entry(NETWORK).url.rsplit("/", 1)[-1]


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    """All tensors of the network under torchvision's names, 1,000 classes."""
    return build(NETWORK, 1000, 32, Weights.none(), seed=8).state()


def _publish(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, file: Path) -> None:
    """Let torchvision's entry point to `file`, and its cache be empty."""
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))
    monkeypatch.setattr(type(torchvision_entry(NETWORK)), "url", property(lambda self: file.as_uri()))


@pytest.fixture
def no_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _publish(monkeypatch, tmp_path, tmp_path / "absent" / ORIGINAL)


@pytest.fixture
def published(tmp_path: Path, state: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file to download whose name ends in its hash, as torchvision's do."""
    (tmp_path / "server").mkdir()
    torch.save(state, tmp_path / "server" / "made")
    digest = file_sha256(tmp_path / "server" / "made")
    file = (tmp_path / "server" / "made").rename(tmp_path / "server" / f"shufflenetv2_x1-{digest[:10]}.pth")
    _publish(monkeypatch, tmp_path, file)
    return file


def _same_backbone(net: Net, state: dict[str, Tensor]) -> bool:
    found = net.state()
    return all(torch.equal(found[name], state[name]) for name in found if not name.startswith("fc."))


@pytest.mark.parametrize("name", [f"{NETWORK}.pth", f"{NETWORK}.safetensors", ORIGINAL])
def test_imagenet_from_the_directory(tmp_path: Path, state: dict[str, Tensor], no_download: None, name: str) -> None:
    file = tmp_path / name
    save_file(state, file) if name.endswith("safetensors") else torch.save(state, file)
    net = build(NETWORK, 3, 32, Weights.imagenet(tmp_path))
    assert _same_backbone(net, state)
    assert net.weights_card.sha256 == file_sha256(file)
    assert net.weights_card.source == f"file {name}" and net.weights_card.head_replaced
    assert "not the bytes" in net.weights_card.notes[0]


@pytest.mark.parametrize("directory", [True, False])
def test_imagenet_nowhere_says_what_to_do(tmp_path: Path, no_download: None, directory: bool) -> None:
    with pytest.raises(InvalidInputError, match="AIMIC_WEIGHTS_DIR") as caught:
        build(NETWORK, 3, 32, Weights.imagenet(tmp_path if directory else None))
    assert ORIGINAL in caught.value.message and "weights none" in caught.value.message
    assert (f"{NETWORK}.pth" in caught.value.message) == directory


def test_torchvisions_own_download(tmp_path: Path, state: dict[str, Tensor], published: Path) -> None:
    net = build(NETWORK, 3, 32, Weights.imagenet(tmp_path))
    assert _same_backbone(net, state)
    assert net.weights_card.licence == TORCHVISION_LICENCE and net.weights_card.notes == ()
    assert net.weights_card.source == "torchvision ShuffleNet_V2_X1_0_Weights.IMAGENET1K_V1"
    assert net.weights_card.sha256 == file_sha256(published)


def test_a_damaged_download_is_refused(tmp_path: Path, published: Path) -> None:
    published.write_bytes(published.read_bytes()[:-1] + b"x")
    with pytest.raises(InvalidInputError, match="invalid hash"):
        build(NETWORK, 3, 32, Weights.imagenet(None))
    assert not list((tmp_path / "hub" / "checkpoints").iterdir())


def test_torchvisions_own_bytes_are_recognised(tmp_path: Path, published: Path) -> None:
    file = published.rename(tmp_path / f"{NETWORK}.pth")
    card = resolve(NETWORK, Weights.imagenet(tmp_path)).card
    assert card.licence == TORCHVISION_LICENCE and card.notes == ()
    assert resolve(NETWORK, Weights.file(file, name="mine.pth")).card.licence == TORCHVISION_LICENCE


@pytest.mark.parametrize(
    "wrap",
    [
        lambda s: s,
        lambda s: {"state_dict": s, "epoch": 3},
        lambda s: {"model": s, "optimizer": {"lr": 1}},
        lambda s: {"model": {"state_dict": s}},
        lambda s: {f"module.{k}": v for k, v in s.items()},
        lambda s: {"state_dict": {f"model.module.{k}": v for k, v in s.items()}},
        lambda s: {k: v.half() if v.is_floating_point() else v for k, v in s.items()},
        lambda s: {k: v for k, v in s.items() if not k.endswith("num_batches_tracked")},
        lambda s: {k: v for k, v in s.items() if not k.startswith("fc.")},
    ],
    ids=["plain", "state_dict", "model", "nested", "parallel", "lightning", "half", "old", "features_only"],
)
def test_common_wrappings(tmp_path: Path, state: dict[str, Tensor], wrap: Callable[[Any], Any]) -> None:
    file = tmp_path / "any.pth"
    torch.save(wrap(state), file)
    net = build(NETWORK, 3, 32, Weights.file(file, name="mine.pth"))
    half = {k: v.half().float() if v.is_floating_point() else v for k, v in state.items()}
    assert _same_backbone(net, state) or _same_backbone(net, half)
    assert net.weights_card.source == "file mine.pth" and net.preprocessing.mean == (0.485, 0.456, 0.406)


def test_legacy_torch_format(tmp_path: Path, state: dict[str, Tensor]) -> None:
    torch.save(state, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert _same_backbone(build(NETWORK, 3, 32, Weights.file(tmp_path / "old.pth")), state)


def test_a_pickled_model_is_never_opened(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2), tmp_path / "whole.pth")
    with pytest.raises(InvalidInputError, match="state_dict"):
        read_state(tmp_path / "whole.pth")


@pytest.mark.parametrize("data", [b"", b"hello", b"PK\x03\x04 cut", b"\x10\0\0\0\0\0\0\0{not json at all"])
def test_what_is_no_weights_file(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x.pth").write_bytes(data)
    with pytest.raises(InvalidInputError):
        read_state(tmp_path / "x.pth")


@pytest.mark.parametrize("place", range(12))
def test_damaged_weights_are_refused_in_plain_words(tmp_path: Path, place: int) -> None:
    """Bytes overwritten all over a small file: in its pickle, its tensors and its list of contents."""
    torch.save({"a": torch.arange(9.0), "b": torch.ones(3)}, tmp_path / "x.pth")
    data = bytearray((tmp_path / "x.pth").read_bytes())
    start = len(data) * place // 12
    data[start : start + 40] = b"\xff" * len(data[start : start + 40])
    (tmp_path / "x.pth").write_bytes(data)
    with suppress(InvalidInputError):  # where only numbers or padding were hit it can still be read
        assert len(read_state(tmp_path / "x.pth")) == 2


def test_a_zip_whose_list_of_contents_is_damaged(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(3)}, tmp_path / "x.pth")
    data = (tmp_path / "x.pth").read_bytes()
    (tmp_path / "x.pth").write_bytes(data.replace(b"PK\x01\x02", b"PK\x09\x09"))
    assert zipfile.is_zipfile(tmp_path / "x.pth")
    with pytest.raises(InvalidInputError, match=r"x\.pth can't be read as plain weights"):
        read_state(tmp_path / "x.pth")


@pytest.mark.parametrize("content", [[1, 2], {}, {"a": 1}, {"state_dict": {}}, torch.zeros(3)])
def test_a_file_without_named_tensors(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(InvalidInputError, match="no named tensors"):
        read_state(tmp_path / "x.pth")


def test_sizes_are_limited(tmp_path: Path, state: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save(state, tmp_path / "x.pth")
    monkeypatch.setattr(statefile, "LARGEST_FILE", 1000)
    with pytest.raises(TooLargeError):
        read_state(tmp_path / "x.pth")


def test_a_missing_tensor_is_named(tmp_path: Path, state: dict[str, Tensor]) -> None:
    torch.save({k: v for k, v in state.items() if not k.startswith("conv5")}, tmp_path / "x.pth")
    with pytest.raises(InvalidInputError, match=r"lacks conv5\.0\.weight"):
        build(NETWORK, 3, 32, Weights.file(tmp_path / "x.pth"))


def test_another_networks_file_is_refused(tmp_path: Path, state: dict[str, Tensor]) -> None:
    torch.save(state, tmp_path / "x.pth")
    with pytest.raises(InvalidInputError, match="MobileNet-v2: the file lacks features"):
        build("mobilenet_v2", 3, 32, Weights.file(tmp_path / "x.pth"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"conv1.0.weight": torch.zeros(24, 3, 5, 5)}, "another shape"),
        ({"conv9.weight": torch.zeros(1)}, "another network"),
        ({"conv1.1.bias": torch.full((24,), float("nan"))}, "no numbers"),
    ],
)
def test_tensors_that_do_not_fit(
    tmp_path: Path, state: dict[str, Tensor], change: dict[str, Tensor], words: str
) -> None:
    torch.save({**state, **change}, tmp_path / "x.pth")
    with pytest.raises(InvalidInputError, match=words) as caught:
        build(NETWORK, 3, 32, Weights.file(tmp_path / "x.pth"))
    assert caught.value.details == {"tensors": list(change)}


def test_a_file_that_is_gone(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="no weights file"):
        build(NETWORK, 3, 32, Weights.file(tmp_path / "gone.pth"))


def test_a_file_that_changed_is_refused(tmp_path: Path, state: dict[str, Tensor]) -> None:
    torch.save(state, tmp_path / "x.pth")
    with pytest.raises(CorruptError):
        resolve(NETWORK, Weights.file(tmp_path / "x.pth", sha256="0" * 64))


def test_earlier_model_keeps_its_head_only_for_its_classes(
    bundle_dir: Path, small_net: Net, training: Callable[[int], Training]
) -> None:
    weights = Weights.bundle(bundle_dir, "cells:1", bundle_hash(bundle_dir))
    same = build(NETWORK, 3, 32, weights, seed=4, class_names=training(3).classes)
    assert torch.equal(same.head.weight, small_net.head.weight) and not same.weights_card.head_replaced
    assert same.weights_card.sha256 == bundle_hash(bundle_dir) and "cells:1" in same.weights_card.source
    assert same.preprocessing.mean == small_net.preprocessing.mean
    for names in (None, ("a", "b", "c"), training(3).classes[::-1]):
        other = build(NETWORK, 3, 32, weights, seed=4, class_names=names)
        assert not torch.equal(other.head.weight, small_net.head.weight)
        assert other.weights_card.head_replaced and _same_backbone(other, small_net.state())
    larger = build(NETWORK, 5, 64, weights, class_names=training(5).classes)
    assert larger.classes == 5 and larger.preprocessing.image_size == 64


def test_earlier_model_that_cannot_be(
    bundle_dir: Path, small_net: Net, training: Callable[[int], Training], tmp_path: Path
) -> None:
    with pytest.raises(InvalidInputError, match="shufflenet"):
        build("mobilenet_v2", 3, 32, Weights.bundle(bundle_dir))
    package(tmp_path / "two", small_net, training(3), [small_net.state(), small_net.state()])
    with pytest.raises(InvalidInputError, match="ensemble"):
        build(NETWORK, 3, 32, Weights.bundle(tmp_path / "two"))
    broken = Path(shutil.copytree(bundle_dir, tmp_path / "broken"))
    (broken / "model_card.md").write_text("")
    with pytest.raises(CorruptError):
        build(NETWORK, 3, 32, Weights.bundle(broken))
