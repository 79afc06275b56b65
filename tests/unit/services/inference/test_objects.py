"""Images named in S3: who may read what, and how much of it."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from aimic.domain.site import OWNER, Permission, Principal
from aimic.errors import AimicError, ForbiddenError, InvalidInputError, NotFoundError, TooLargeError
from aimic.ports.blobs import BlobInfo
from services.inference.deadline import Deadline
from services.inference.rest.objects import Objects, Place, objects_of, place_of
from services.inference.rest.room import Room
from services.inference.settings import Settings

pytestmark = pytest.mark.anyio
OTHER = Principal(site="north", name="scanner", permissions=frozenset(Permission))


class Store:
    """A store of other people, and what was asked of it."""

    def __init__(self, **files: bytes) -> None:
        self.files = {("slides", "2026/" + name.replace("_", "/")): data for name, data in files.items()}
        self.files["slides", "private/a"] = b"private"
        self.files["north", "a"] = b"north's"
        self.asked: list[str] = []
        self.gate: threading.Event | None = None
        self.broken_off = threading.Event()

    def stat(self, bucket: str, key: str) -> BlobInfo:
        self.asked.append(f"{bucket}/{key}")
        if (bucket, key) not in self.files:
            raise NotFoundError(f"There is nothing at s3://{bucket}/{key}.")
        return BlobInfo(key=key, size=len(self.files[bucket, key]))

    def read(self, bucket: str, key: str, most: int, stopped: threading.Event) -> bytes:
        if self.gate is not None:
            self.gate.wait(20)
            if stopped.is_set():
                self.broken_off.set()
        return self.files[bucket, key][:most]

    def list(self, bucket: str, prefix: str, most: int) -> list[BlobInfo]:
        self.asked.append(f"{bucket}/{prefix}")
        found = sorted(key for home, key in self.files if home == bucket and key.startswith(prefix))
        return [BlobInfo(key=key, size=len(self.files[bucket, key])) for key in found[:most]]


@pytest.fixture
def store() -> Store:
    return Store(b=b"second", a=b"first", deep_c=b"third")


@pytest.fixture
async def objects(store: Store) -> AsyncIterator[Objects]:
    made = Objects(store, {"local": [Place("slides", "2026/")], "north": [Place("north", "")]})
    yield made
    made.close()


def room(most: int = 5, image_bytes: int = 100, hold: Callable[[int], None] = lambda _: None) -> Room:
    return Room(most, image_bytes, hold)


async def test_objects_and_prefixes_come_in_order_with_their_names(objects: Objects) -> None:
    images = await objects.images(["s3://slides/2026/deep/c", "s3://slides/2026/"], OWNER, room())
    assert [(image.name, image.data) for image in images] == [
        ("s3://slides/2026/deep/c", b"third"),
        ("s3://slides/2026/a", b"first"),
        ("s3://slides/2026/b", b"second"),
        ("s3://slides/2026/deep/c", b"third"),
    ]


@pytest.mark.parametrize(
    "name",
    ["s3://slides/private/a", "s3://slides/", "s3://slides/2026x/a", "s3://north/a", "s3://elsewhere/a"],
)
async def test_a_site_reads_only_what_was_opened_to_it(objects: Objects, store: Store, name: str) -> None:
    with pytest.raises(ForbiddenError, match="AIMIC_INFERENCE_S3_READABLE"):
        await objects.images(["s3://slides/2026/a", name], OWNER, room())
    assert store.asked == []  # not even whether it is there


async def test_each_site_has_its_own_places(objects: Objects) -> None:
    assert [image.data for image in await objects.images(["s3://north/"], OTHER, room())] == [b"north's"]
    with pytest.raises(ForbiddenError):
        await objects.images(["s3://slides/2026/a"], OTHER, room())
    nobody = Principal(site="south", name="x", permissions=frozenset(Permission))
    with pytest.raises(ForbiddenError):
        await objects.images(["s3://slides/2026/a"], nobody, room())


async def test_who_may_see_no_images_names_none(objects: Objects) -> None:
    caller = Principal(site="local", name="lis", permissions=frozenset({Permission.PREDICT}))
    with pytest.raises(ForbiddenError, match="datasets:read"):
        await objects.images(["s3://slides/2026/a"], caller, room())


@pytest.mark.parametrize(
    "name",
    [
        "slides/2026/a",
        "https://slides/2026/a",
        "s3://slides",
        "s3://slides/2026/../private/a",
        "s3://slides/2026/./a",
        "s3://slides/2026//a",
        "s3://slides/2026/..\\private\\a",
        "s3://slides/2026/a\n",
        "s3://user:key@host/2026/a",
        "s3://127.0.0.1:9000/2026/a",
        "s3://SLIDES/2026/a",
        "s3://slides/2026/" + "ä" * 600,
    ],
)
async def test_what_is_no_name_is_refused_before_it_is_asked_for(objects: Objects, store: Store, name: str) -> None:
    with pytest.raises(InvalidInputError, match="no name of an object"):
        await objects.images([name], OWNER, room())
    assert store.asked == []


def test_a_name_is_what_it_says() -> None:
    assert place_of("s3://slides/a b/ü?x=1#2%2e") == Place("slides", "a b/ü?x=1#2%2e")
    assert place_of("s3://slides/").is_prefix and place_of("s3://slides/a/").is_prefix


async def test_a_missing_object_fails_the_request(objects: Objects) -> None:
    with pytest.raises(NotFoundError, match="s3://slides/2026/none"):
        await objects.images(["s3://slides/2026/a", "s3://slides/2026/none"], OWNER, room())


@pytest.mark.parametrize("names", [["s3://slides/2026/"], ["s3://slides/2026/a"] * 3])
async def test_no_more_objects_than_images_in_a_request(objects: Objects, names: list[str]) -> None:
    with pytest.raises(TooLargeError, match="At most 2 images"):
        await objects.images(names, OWNER, room(most=2))


async def test_bytes_are_counted_before_they_are_read(objects: Objects, store: Store) -> None:
    counted: list[int] = []

    def hold(size: int) -> None:
        counted.append(size)
        if sum(counted) > 7:
            raise TooLargeError("full")

    store.read = None  # type: ignore[assignment] # nothing is read
    with pytest.raises(TooLargeError, match="full"):
        await objects.images(["s3://slides/2026/a", "s3://slides/2026/b"], OWNER, room(hold=hold))
    assert counted == [5, 6]


async def test_of_an_image_over_the_limit_only_so_much_is_read_as_tells_it(objects: Objects) -> None:
    images = await objects.images(["s3://slides/2026/b", "s3://slides/2026/a"], OWNER, room(image_bytes=4))
    assert [image.data for image in images] == [b"secon", b"first"]


async def test_a_deadline_ends_the_wait_and_soon_the_reading(objects: Objects, store: Store) -> None:
    store.gate = threading.Event()
    with pytest.raises(AimicError, match="deadline passed while the request was read"):
        async with Deadline.after(0.05).during("the request was read"):
            await objects.images(["s3://slides/2026/a"], OWNER, room())
    store.gate.set()
    assert await asyncio.to_thread(store.broken_off.wait, 20)


def settings(home: Path, **more: Any) -> Settings:
    keys = {"s3_access_key": "a", "s3_secret_key": "s", "inference_s3_url": "s3+http://store:9000"}
    return Settings.model_validate({"home": home} | keys | more)


def test_nothing_is_open_unless_an_operator_opens_it(tmp_path: Path) -> None:
    assert objects_of(settings(tmp_path)) is None


def test_the_environment_opens_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIMIC_INFERENCE_S3_READABLE", '{"local": ["slides", "scans/2026/"]}')
    made = objects_of(settings(tmp_path))
    assert made is not None
    made.close()


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"inference_s3_readable": {"local": ["slides/2026"]}}, "with / at its end"),
        ({"inference_s3_readable": {"local": ["slides/../x/"]}}, "neither a bucket"),
        ({"inference_s3_readable": {"local": ["*"]}}, "neither a bucket"),
        ({"inference_s3_url": ""}, "AIMIC_INFERENCE_S3_URL"),
        ({"inference_s3_url": "http://store"}, "AIMIC_INFERENCE_S3_URL"),
        ({"s3_secret_key": None}, "AIMIC_S3_SECRET_KEY"),
        ({"inference_s3_url": "s3+http://a:b@store"}, "AIMIC_INFERENCE_S3_URL holds a user"),
        ({"blobs_url": "s3+http://other/slides"}, "images of all sites"),
    ],
)
def test_settings_that_cannot_be_kept_stop_the_start(tmp_path: Path, more: dict[str, Any], words: str) -> None:
    with pytest.raises(SystemExit, match=words):
        objects_of(settings(tmp_path, **({"inference_s3_readable": {"local": ["slides"]}} | more)))
