"""A model bundle: an immutable directory named by its hash. No torch here, and never a pickle.

Members: `weights/0.safetensors` (… k-1 for an ensemble), `check.safetensors` (inputs drawn by a seeded
generator and the float32 logits they must give), `bundle.json` (RFC 8785) and `model_card.md` made from it.
`bundle.json` lists the size and SHA-256 of the others and carries a seal, the SHA-256 of itself without the
seal, so that a changed byte anywhere is found even by who doesn't know the name.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError
from rfc8785 import CanonicalizationError
from safetensors.numpy import save_file

from aimic.domain.base import canonical_json, sha256_of
from aimic.errors import ConflictError, CorruptError, InvalidInputError, NotFoundError
from aimic.nets.info import FORMAT, READABLE, BundleInfo
from aimic.nets.model_card import model_card

INFO = "bundle.json"
CARD = "model_card.md"
CHECK = "check.safetensors"
LARGEST_INFO = 256 * 2**20
"""Bytes of bundle.json; a million training samples are 110 MB."""
_HASH = re.compile(r"[0-9a-f]{64}")


class Bundle(NamedTuple):
    """A bundle whose every byte was checked."""

    hash: str
    info: BundleInfo


def members_of(info: BundleInfo) -> tuple[str, ...]:
    """The names of a bundle's files, sorted; there are no others."""
    weights = (f"weights/{index}.safetensors" for index in range(info.ensemble))
    return tuple(sorted((INFO, CARD, CHECK, *weights)))


def write(
    directory: Path,
    info: BundleInfo,
    weights: Sequence[Mapping[str, NDArray[Any]]],
    check_inputs: NDArray[np.uint8],
    check_logits: NDArray[np.float32],
) -> str:
    """Write a bundle into a new or empty directory; its hash.

    `check_inputs` [32, S, S, 3] and `check_logits` [32, classes]. InvalidInputError when the parts don't
    belong together; ConflictError when the directory holds something.
    """
    _check_parts(info, weights, check_inputs, check_logits)
    if directory.exists() and any(directory.iterdir()):
        raise ConflictError(f"{directory} is not empty; a bundle is never written over.")
    (directory / "weights").mkdir(parents=True)
    for index, state in enumerate(weights):
        _save(directory / "weights" / f"{index}.safetensors", state)
    _save(directory / CHECK, {"inputs": check_inputs, "logits": check_logits})
    return describe(directory, info)


def describe(directory: Path, info: BundleInfo) -> str:
    """Write what a bundle in the making says of itself; its hash. InvalidInputError for what JSON can't hold.

    Only for who makes it: a bundle that anybody has read or named is never changed.
    """
    (directory / CARD).write_bytes(model_card(info).encode())
    content = info.model_dump(mode="json")
    content["members"] = [list(_describe(directory, name)) for name in members_of(info) if name != INFO]
    try:
        (directory / INFO).write_bytes(canonical_json({**content, "seal": sha256_of(content)}))
    except CanonicalizationError as error:
        raise InvalidInputError(f"A value of the bundle can't be written as JSON: {error}") from error
    return bundle_hash(directory)


def bundle_hash(directory: Path) -> str:
    """Hex SHA-256 of the sorted list [member, size, SHA-256] as canonical JSON, read from the files."""
    return sha256_of([list(_describe(directory, name)) for name in _present(directory)])


def verify(directory: Path, expected_hash: str | None = None) -> BundleInfo:
    """Check every byte of a bundle; what it says of itself.

    NotFoundError without a bundle there, CorruptError for any changed byte, missing or added file or another
    bundle than expected, InvalidInputError for a format that this version doesn't know.
    """
    return inspect(directory, expected_hash).info


def inspect(directory: Path, expected_hash: str | None = None) -> Bundle:
    """Like `verify`, with the bundle's hash. A directory named by a hash must be that bundle."""
    content = _read_content(directory)
    try:
        info = BundleInfo.model_validate(content)
    except ValidationError as error:
        raise CorruptError(f"The bundle's description can't be read, so it is not used: {error}") from error
    present = _present(directory)
    if present != members_of(info):
        odd = sorted(set(present) ^ set(members_of(info)))
        raise CorruptError(f"The bundle has files missing or too many: {', '.join(odd[:5])}. It is not used.")
    found = [list(_describe(directory, name)) for name in present]
    listed = [entry for entry in found if entry[0] != INFO]
    changed = [str(entry[0]) for entry in listed if entry not in content.get("members", ())]
    if changed or len(listed) != len(content["members"]):
        raise CorruptError(f"The bundle was changed after it was made ({', '.join(changed)}). It is not used.")
    _check_name(directory, digest := sha256_of(found), expected_hash)
    return Bundle(digest, info)


def _check_name(directory: Path, digest: str, expected: str | None) -> None:
    named = directory.name if _HASH.fullmatch(directory.name) else digest
    if digest != (expected or digest) or digest != named:
        raise CorruptError(
            "This is not the bundle that was asked for: its hash is another. It is not used.",
            expected=expected or named,
            found=digest,
        )


def _read_content(directory: Path) -> dict[str, Any]:
    """bundle.json, its form and seal checked."""
    path = directory / INFO
    if not path.is_file():
        raise NotFoundError(f"There is no model bundle in {directory}.")
    if path.stat().st_size > LARGEST_INFO:
        raise CorruptError("The bundle's description is larger than any we write. It is not used.")
    data = path.read_bytes()
    try:
        content = json.loads(data)
        written = canonical_json(content)
    except (ValueError, RecursionError) as error:
        raise CorruptError("The bundle's description is damaged. It is not used.") from error
    if not isinstance(content, dict) or written != data:
        raise CorruptError("The bundle's description is damaged. It is not used.")
    if content.get("format") not in READABLE:
        raise InvalidInputError(
            f"This bundle is written in format {content.get('format')}; this version of AIMIC reads formats up to "
            f"{FORMAT}. Update AIMIC, or export the model from the version that made it."
        )
    sealed = {key: value for key, value in content.items() if key != "seal"}
    if content.get("seal") != sha256_of(sealed):
        raise CorruptError("The bundle's description was changed after it was made. It is not used.")
    return content


def _check_parts(
    info: BundleInfo,
    weights: Sequence[Mapping[str, NDArray[Any]]],
    inputs: NDArray[np.uint8],
    logits: NDArray[np.float32],
) -> None:
    side = info.preprocessing.image_size
    fits = (
        len(weights) == info.ensemble
        and inputs.dtype == np.uint8
        and inputs.shape[1:] == (side, side, 3)
        and logits.dtype == np.float32
        and logits.shape == (len(inputs), len(info.classes))
        and len(info.class_mix) == len(info.classes)
    )
    if not fits:
        raise InvalidInputError("The parts of this bundle don't belong together; nothing was written.")


def _save(path: Path, tensors: Mapping[str, NDArray[Any]]) -> None:
    """safetensors orders by type and name itself, so equal tensors give equal bytes."""
    save_file({name: np.asarray(tensors[name], order="C") for name in sorted(tensors)}, path)


def _present(directory: Path) -> tuple[str, ...]:
    """Every file below the directory, sorted; a link or a strange name makes the bundle corrupt."""
    found = []
    for path in directory.rglob("*"):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise CorruptError("The bundle holds something that is no plain file. It is not used.")
        if path.is_file():
            found.append(path.relative_to(directory).as_posix())
        elif path.relative_to(directory).as_posix() != "weights":
            raise CorruptError(f"The bundle holds a folder that isn't its own ({path.name}). It is not used.")
    return tuple(sorted(found))


def _describe(directory: Path, name: str) -> tuple[str, int, str]:
    """(member, size in bytes, hex SHA-256)."""
    path = directory / name
    with path.open("rb") as stream:
        return name, path.stat().st_size, hashlib.file_digest(stream, "sha256").hexdigest()
