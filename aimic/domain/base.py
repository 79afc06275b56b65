"""The two kinds of typed values that cross a boundary."""

import hashlib
from typing import Any

import rfc8785
from pydantic import BaseModel, ConfigDict


class Value(BaseModel):
    """Something we say. Readers ignore what they don't know, so that a newer server may say more."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Command(BaseModel):
    """Something we are asked. An unknown field is a misspelt wish, so it is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def canonical_json(value: Any) -> bytes:
    """RFC 8785 canonical JSON, the form in which everything we hash is written."""
    return rfc8785.dumps(value)


def sha256_of(value: Any) -> str:
    """Hex SHA-256 of the canonical JSON of `value`."""
    return hashlib.sha256(canonical_json(value)).hexdigest()
