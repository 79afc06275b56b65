"""The keys of an installation, known by their hashes only: whoever sends one is a principal of one site.

A key is long and random, so a plain SHA-256 keeps it; a slow hash is for passwords that people think up.
"""

import hashlib
import hmac
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError

from aimic.domain.base import Command
from aimic.domain.site import OWNER, PLATFORM_SITE, Permission, Principal
from aimic.settings import Settings

WORKER = Principal(site=PLATFORM_SITE, name="worker", permissions=frozenset({Permission.TASKS_WORK}))
"""A trainer of the platform: asks for tasks of any site; all else it does with the task's own token."""


class SiteKey(Command):
    """A key of AIMIC_KEYS_FILE: its holder is an owner of that site."""

    # The site stands in keys of objects, so it has their letters; PLATFORM_SITE isn't among them.
    site: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")
    principal: str = Field(min_length=1, max_length=200)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


_SiteKeys: TypeAdapter[list[SiteKey]] = TypeAdapter(Annotated[list[SiteKey], Field(min_length=1)])


class Keys:
    """All keys of the settings; SystemExit with a sentence when one can't be used."""

    def __init__(self, settings: Settings) -> None:
        self._known: dict[bytes, Principal] = {}
        for digest, principal in _keys_of(settings):
            if digest in self._known:
                raise SystemExit(
                    f"One key stands for both {self._known[digest].name!r} and {principal.name!r} (AIMIC_API_KEY, "
                    "AIMIC_WORKER_KEY, AIMIC_KEYS_FILE). Give each a key of its own. Nothing was started."
                )
            self._known[digest] = principal

    def owner_of(self, key: bytes) -> Principal | None:
        """Whose key this is. Takes the same time whichever of the keys it is, or none."""
        sent, found = hashlib.sha256(key).digest(), None
        for digest, principal in self._known.items():
            if hmac.compare_digest(sent, digest):
                found = principal
        return found


def has_keys(settings: Settings) -> bool:
    """Whether people and programs need a key here. A worker's key alone closes no door."""
    return settings.key() is not None or settings.keys_file is not None


def _keys_of(settings: Settings) -> Iterator[tuple[bytes, Principal]]:
    if key := settings.key():
        yield hashlib.sha256(key.encode()).digest(), OWNER
    if key := settings.secret("worker_key"):
        yield hashlib.sha256(key.encode()).digest(), WORKER
    if settings.keys_file is not None:
        for row in _read(settings.keys_file):
            owner = Principal(site=row.site, name=row.principal, permissions=frozenset(Permission))
            yield bytes.fromhex(row.sha256), owner


def _read(path: Path) -> list[SiteKey]:
    try:
        return _SiteKeys.validate_json(path.read_bytes())
    except OSError as error:
        raise SystemExit(f"The keys' file {path} can't be read ({error.strerror}). Nothing was started.") from None
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the whole"
        raise SystemExit(
            f'The keys\' file {path} is not a JSON list of {{"site", "principal", "sha256"}}: {place}: '
            f"{first['msg']}. Nothing was started."
        ) from None
