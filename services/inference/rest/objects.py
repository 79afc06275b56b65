"""Images in an S3 store, named instead of sent: only where the operator lets the caller's site read."""

import asyncio
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeVar
from urllib.parse import urlsplit

from aimic import wiring
from aimic.auth import require
from aimic.domain.site import Permission, Principal
from aimic.errors import ForbiddenError, InvalidInputError, TooLargeError
from aimic.ports.sources import Sources
from services.inference.dataplane import EncodedImage
from services.inference.rest.room import Room
from services.inference.settings import Settings

T = TypeVar("T")
_AT_ONCE = 8
"""Of all requests together: a store that hangs holds up these threads and nobody else's."""
_KEY_BYTES = 1024
_BUCKET = r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]"
_ALLOWED = re.compile(rf"({_BUCKET})(?:/(.*/))?")
_REFERENCE = re.compile(rf"s3://({_BUCKET})/(.*)", re.DOTALL)
_FORM = "s3://bucket/key, or s3://bucket/prefix/ for all objects below it"


class Place(NamedTuple):
    """An object, or with a key that is empty or ends in `/`, all objects below it."""

    bucket: str
    key: str

    @property
    def is_prefix(self) -> bool:
        """Whether it stands for all objects below."""
        return not self.key or self.key.endswith("/")

    def within(self, allowed: "Place") -> bool:
        """Whether who may read `allowed` may read this."""
        return self.bucket == allowed.bucket and self.key.startswith(allowed.key)


class Objects:
    """Reads images for callers, each site from the places that were opened to it; see `inference_s3_readable`."""

    def __init__(self, store: Sources, readable: Mapping[str, Sequence[Place]]) -> None:
        self._store = store
        self._readable = readable
        self._threads = ThreadPoolExecutor(_AT_ONCE, "s3")

    async def images(self, names: Sequence[str], principal: Principal, room: Room) -> list[EncodedImage]:
        """The objects of these names, in their order; of a prefix all, in the order of keys. Each has its full name.

        Nothing is asked of the store before all names are allowed. InvalidInputError for what is no name,
        ForbiddenError, NotFoundError, TooLargeError for too many objects or bytes, UnavailableError.
        An image over the limit of one comes cut, so that it alone is refused.
        """
        require(principal, Permission.DATASETS_READ)
        places = [self._allowed(name, principal.site) for name in names]
        stopped = threading.Event()
        try:
            found = await self._found(places, room.most)
            sizes = [min(size, room.image_bytes + 1) for _, size in found]
            for size in sizes:
                room.hold(size)
            async with asyncio.TaskGroup() as group:
                reads = [
                    group.create_task(self._call(self._store.read, place.bucket, place.key, size, stopped))
                    for (place, _), size in zip(found, sizes, strict=True)
                ]
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None
        finally:
            stopped.set()  # the deadline passed or another object failed: what threads still read is for nobody
        return [
            EncodedImage(read.result(), f"s3://{place.bucket}/{place.key}")
            for (place, _), read in zip(found, reads, strict=True)
        ]

    def close(self) -> None:
        """Begin nothing more."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _allowed(self, name: str, site: str) -> Place:
        place = place_of(name)
        if not any(place.within(allowed) for allowed in self._readable.get(site, ())):
            raise ForbiddenError(
                f"Your site may not read {name[:200]!r} here. An operator can open a bucket or a prefix to it "
                "(AIMIC_INFERENCE_S3_READABLE), or send the images themselves."
            )
        return place

    async def _found(self, places: Sequence[Place], most: int) -> list[tuple[Place, int]]:
        found: list[tuple[Place, int]] = []
        async with asyncio.TaskGroup() as group:
            looks = [group.create_task(self._look(place, most + 1)) for place in places[: most + 1]]
        for look in looks:
            found += look.result()
        if len(found) > most or len(places) > most:
            raise TooLargeError(f"At most {most} images are taken in one request. Name them in several requests.")
        return found

    async def _look(self, place: Place, most: int) -> list[tuple[Place, int]]:
        if not place.is_prefix:
            return [(place, (await self._call(self._store.stat, place.bucket, place.key)).size)]
        listed = await self._call(self._store.list, place.bucket, place.key, most)
        # Names that no reference may have are none that a store could be asked for safely either.
        return [(place_of(f"s3://{place.bucket}/{info.key}"), info.size) for info in listed]

    async def _call(self, work: Callable[..., T], *arguments: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)


def place_of(name: str) -> Place:
    """The place of a reference; InvalidInputError when it is none."""
    found = _REFERENCE.fullmatch(name)
    if found is None or len(found[2].encode()) > _KEY_BYTES or not _is_plain(found[2].removesuffix("/")):
        raise InvalidInputError(f"{name[:200]!r} is no name of an object: {_FORM}.")
    return Place(found[1], found[2])


def objects_of(settings: Settings) -> Objects | None:
    """What the settings open; None when that is nothing. SystemExit, in words, when they can't be kept."""
    if not settings.inference_s3_readable:
        return None
    readable = {site: tuple(map(_opened, names)) for site, names in settings.inference_s3_readable.items()}
    buckets = {place.bucket for places in readable.values() for place in places}
    own = urlsplit(settings.blobs_url)
    if own.scheme.startswith("s3+") and own.path.strip("/") in buckets:
        raise SystemExit(
            f"AIMIC_INFERENCE_S3_READABLE opens {own.path.strip('/')}, where the images of all sites are. Name samples "
            "of data sets instead, which checks who asks. Nothing was started."
        )
    return Objects(wiring.sources(settings, settings.inference_s3_url, buckets), readable)


def _opened(name: str) -> Place:
    found = _ALLOWED.fullmatch(name)
    if found is None or not _is_plain((found[2] or "").removesuffix("/")):
        raise SystemExit(
            f"AIMIC_INFERENCE_S3_READABLE: {name!r} is neither a bucket nor bucket/prefix/ (with / at its end). "
            "Nothing was started."
        )
    return Place(found[1], found[2] or "")


def _is_plain(key: str) -> bool:
    # With "." or ".." a name would lead out of the prefix that it begins with: programs on the way resolve them.
    parts = key.split("/") if key else []
    return all(part not in {"", ".", ".."} for part in parts) and key.isprintable() and "\\" not in key
