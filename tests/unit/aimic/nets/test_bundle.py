"""A bundle says what it is, and any change is found."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from aimic.domain.base import canonical_json, sha256_of
from aimic.errors import ConflictError, CorruptError, InvalidInputError, NotFoundError
from aimic.nets.bundle import bundle_hash, inspect, members_of, verify, write
from aimic.nets.net import Net
from aimic.nets.package import Training, package


@pytest.fixture
def copy(bundle_dir: Path, tmp_path: Path) -> Path:
    """A bundle that may be spoilt."""
    return Path(shutil.copytree(bundle_dir, tmp_path / "copy"))


def test_members_and_name(bundle_dir: Path) -> None:
    info = verify(bundle_dir)
    present = sorted(p.relative_to(bundle_dir).as_posix() for p in bundle_dir.rglob("*") if p.is_file())
    assert present == ["bundle.json", "check.safetensors", "model_card.md", "weights/0.safetensors"]
    assert tuple(present) == members_of(info)
    assert inspect(bundle_dir) == (bundle_hash(bundle_dir), info)


def test_same_training_same_bundle(
    small_net: Net, training: Callable[[int], Training], bundle_dir: Path, tmp_path: Path
) -> None:
    assert package(tmp_path / "again", small_net, training(3)) == bundle_hash(bundle_dir)
    other = training(3).model_copy(update={"manifest_hash": "ef" * 32})
    assert package(tmp_path / "other", small_net, other) != bundle_hash(bundle_dir)


def test_description_is_canonical_and_complete(bundle_dir: Path) -> None:
    data = (bundle_dir / "bundle.json").read_bytes()
    content = json.loads(data)
    assert canonical_json(content) == data
    assert content["format"] == 2 and content["executors"] == []
    assert content["membership"] == [{"sha256": "cd" * 32, "phash": "0123456789abcdef", "fold": 0}]
    assert content["preprocessing"]["mean"] == [0.5, 0.5, 0.5]
    assert content["metrics"]["pooled"]["accuracy"] == 0.9
    assert content["weights_card"]["kind"] == "none"
    assert {"torch", "torchvision", "numpy", "pillow"} <= set(content["libraries"])


@pytest.mark.parametrize("member", ["bundle.json", "check.safetensors", "model_card.md", "weights/0.safetensors"])
def test_any_changed_byte_is_found(copy: Path, member: str) -> None:
    """At twenty places of each file, without knowing the hash."""
    path = copy / member
    data = path.read_bytes()
    for place in np.linspace(0, len(data) - 1, 20).astype(int):
        changed = bytearray(data)
        changed[place] ^= 1
        path.write_bytes(changed)
        with pytest.raises((CorruptError, InvalidInputError)):
            verify(copy)
    path.write_bytes(data)
    verify(copy)


def test_changed_digit_of_a_metric_is_found(copy: Path) -> None:
    path = copy / "bundle.json"
    path.write_bytes(path.read_bytes().replace(b'"accuracy":0.9', b'"accuracy":0.8'))
    with pytest.raises(CorruptError):
        verify(copy)


@pytest.mark.parametrize("extra", ["notes.txt", "weights/1.safetensors", "weights/x", ".hidden"])
def test_added_file_is_found(copy: Path, extra: str) -> None:
    (copy / extra).write_bytes(b"more")
    with pytest.raises(CorruptError, match="too many"):
        verify(copy)


def test_added_folder_and_link_are_found(copy: Path) -> None:
    (copy / "more").mkdir()
    with pytest.raises(CorruptError):
        verify(copy)
    (copy / "more").rmdir()
    card = copy / "model_card.md"
    card.rename(copy.parent / "elsewhere.md")
    card.symlink_to(copy.parent / "elsewhere.md")
    with pytest.raises(CorruptError):
        verify(copy)


@pytest.mark.parametrize("member", ["check.safetensors", "model_card.md", "weights/0.safetensors"])
def test_missing_file_is_found(copy: Path, member: str) -> None:
    (copy / member).unlink()
    with pytest.raises(CorruptError):
        verify(copy)


def test_no_bundle_at_all(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        verify(tmp_path)


def test_another_bundle_than_expected(bundle_dir: Path, copy: Path) -> None:
    verify(bundle_dir, bundle_hash(bundle_dir))
    with pytest.raises(CorruptError, match="another"):
        verify(bundle_dir, "0" * 64)
    misnamed = copy.rename(copy.parent / ("0" * 64))
    with pytest.raises(CorruptError, match="another"):
        verify(misnamed)


def _rewrite(directory: Path, **changes: object) -> None:
    """What another program, or a later version, would write: sealed and canonical."""
    content = json.loads((directory / "bundle.json").read_bytes())
    del content["seal"]
    content.update(changes)
    (directory / "bundle.json").write_bytes(canonical_json({**content, "seal": sha256_of(content)}))


def test_unknown_format_says_what_to_do(copy: Path) -> None:
    _rewrite(copy, format=3)
    with pytest.raises(InvalidInputError, match=r"format 3.*Update AIMIC"):
        verify(copy)


def test_format_1_is_still_read_and_admits_no_executor(copy: Path) -> None:
    content = json.loads((copy / "bundle.json").read_bytes())
    del content["seal"], content["executors"]
    content["format"] = 1
    (copy / "bundle.json").write_bytes(canonical_json({**content, "seal": sha256_of(content)}))
    info = verify(copy)
    assert (info.format, info.executors) == (1, ())


def test_later_fields_are_ignored_but_sealed(copy: Path) -> None:
    _rewrite(copy, something_new={"a": 1})
    assert verify(copy).network == "shufflenet_v2_x1_0"


@pytest.mark.parametrize("changes", [{"classes": []}, {"network": 3}, {"ensemble": 0}, {"members": []}])
def test_impossible_description_is_refused(copy: Path, changes: dict[str, object]) -> None:
    _rewrite(copy, **changes)
    with pytest.raises(CorruptError):
        verify(copy)


def test_missing_members_list_is_refused(copy: Path) -> None:
    content = json.loads((copy / "bundle.json").read_bytes())
    del content["seal"], content["members"]
    (copy / "bundle.json").write_bytes(canonical_json({**content, "seal": sha256_of(content)}))
    with pytest.raises(CorruptError):
        verify(copy)


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b"null", b"[" * 100_000, b'{"format":1}'])
def test_damaged_description_is_refused(copy: Path, data: bytes) -> None:
    (copy / "bundle.json").write_bytes(data)
    with pytest.raises(CorruptError):
        verify(copy)


def test_parts_must_belong_together(bundle_dir: Path, tmp_path: Path) -> None:
    info = verify(bundle_dir)
    inputs, logits = np.zeros((2, 32, 32, 3), np.uint8), np.zeros((2, 3), np.float32)
    weights = [{"w": np.zeros(2, np.float32)}]
    for wrong in (
        (info, [], inputs, logits),
        (info, weights, inputs[:, :8], logits),
        (info, weights, inputs, logits[:, :2]),
        (info.model_copy(update={"class_mix": (1,)}), weights, inputs, logits),
    ):
        with pytest.raises(InvalidInputError):
            write(tmp_path / "new", *wrong)
    assert not (tmp_path / "new").exists()
    assert write(tmp_path / "new", info, weights, inputs, logits) == bundle_hash(tmp_path / "new")
    with pytest.raises(ConflictError):
        write(tmp_path / "new", info, weights, inputs, logits)


def test_no_number_is_written_as_absent(bundle_dir: Path, tmp_path: Path) -> None:
    info = verify(bundle_dir).model_copy(update={"metrics": {"loss": float("nan")}})
    write(tmp_path / "new", info, [{}], *_check())
    assert verify(tmp_path / "new").metrics == {"loss": None}


def test_a_value_that_json_lacks_is_refused(bundle_dir: Path, tmp_path: Path) -> None:
    info = verify(bundle_dir).model_copy(update={"settings": {"seed": 2**60}})
    with pytest.raises(InvalidInputError, match="JSON"):
        write(tmp_path / "new", info, [{}], *_check())


def _check() -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    return np.zeros((1, 32, 32, 3), np.uint8), np.zeros((1, 3), np.float32)


def test_scalars_stay_scalars(bundle_dir: Path, small_net: Net) -> None:
    from aimic.nets.statefile import read_bundle_state

    stored = read_bundle_state(bundle_dir, 0)
    assert {name: t.shape for name, t in stored.items()} == {name: t.shape for name, t in small_net.state().items()}


def test_card_says_what_the_bundle_says(bundle_dir: Path) -> None:
    card = (bundle_dir / "model_card.md").read_text()
    for words in ("ShuffleNet", "| class 2 | 3 |", "| accuracy | 0.9000 |", "| macro f1 | – |", "ab" * 32):
        assert words in card
    assert "random initialisation" in card and "For new images." in card
