"""The S3 adapter on a real store: what is done behind its back, rights, room, memory."""

import hashlib
import io
import os
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import minio
import pytest
from minio import MinioAdmin
from minio.credentials.providers import StaticProvider

from aimic.adapters.s3_blobs import S3Blobs
from aimic.errors import CorruptError, FullError, UnavailableError
from aimic.settings import Settings
from services.local.servers.minio import Minio
from services.local.servers.together import fields
from services.trainer import presigned

pytestmark = pytest.mark.servers
MIB = 1 << 20


@pytest.fixture
def settings(minio_server: Minio, tmp_path: Path) -> Settings:
    return Settings(home=tmp_path, **fields(minio_server.environment(bucket=None)))


@pytest.fixture
def blobs(settings: Settings) -> S3Blobs:
    made = S3Blobs.of(settings)
    made.ping()
    return made


@pytest.fixture
def bucket(settings: Settings) -> str:
    return settings.blobs_url.rpartition("/")[2]


@pytest.fixture
def raw(minio_server: Minio, settings: Settings) -> minio.Minio:
    """The store behind our back."""
    host = f"127.0.0.1:{minio_server.port}"
    return minio.Minio(host, settings.secret("s3_access_key"), settings.secret("s3_secret_key"), secure=False)


@pytest.fixture
def admin(minio_server: Minio, settings: Settings) -> MinioAdmin:
    keys = StaticProvider(settings.secret("s3_access_key") or "", settings.secret("s3_secret_key") or "")
    return MinioAdmin(endpoint=f"127.0.0.1:{minio_server.port}", credentials=keys, secure=False)


def test_ping_makes_the_bucket(blobs: S3Blobs, raw: minio.Minio, bucket: str) -> None:
    assert raw.bucket_exists(bucket)


@pytest.mark.parametrize("size", [MIB, 9 * MIB])
def test_a_byte_changed_behind_our_back_is_noticed(blobs: S3Blobs, raw: minio.Minio, bucket: str, size: int) -> None:
    data = os.urandom(size)
    blobs.put("a", data)
    promised = raw.stat_object(bucket, "a").metadata
    assert promised is not None
    assert promised["x-amz-meta-sha256"] == hashlib.sha256(data).hexdigest()
    raw.put_object(bucket, "a", io.BytesIO(b"!" + data[1:]), size, metadata={"sha256": promised["x-amz-meta-sha256"]})
    with pytest.raises(CorruptError):
        blobs.get("a")
    pieces = blobs.read("a")
    with pytest.raises(CorruptError):
        list(pieces)
    assert b"".join(blobs.read("a", 1, 10)) == data[1:11]


def test_an_object_that_others_wrote_is_read(blobs: S3Blobs, raw: minio.Minio, bucket: str) -> None:
    for size in (10, 11 * MIB):
        raw.put_object(bucket, "theirs", io.BytesIO(b"x" * size), size)
        assert blobs.get("theirs") == b"x" * size
    raw.put_object(bucket, "no key of ours", io.BytesIO(b""), 0)
    assert [info.key for info in blobs.list("")] == ["theirs"]


class _BreaksAtSecondLook(io.BytesIO):
    """A large file whose disk fails after it was looked at."""

    looked = False

    def seek(self, position: int, whence: int = 0, /) -> int:
        self.looked = True
        return super().seek(position, whence)

    def read(self, size: int | None = -1, /) -> bytes:
        if self.looked and self.tell() >= 20 * MIB:
            raise ValueError("the disk went away")
        return super().read(size)


def test_an_upload_that_breaks_leaves_no_parts(blobs: S3Blobs, raw: minio.Minio, bucket: str) -> None:
    with pytest.raises(ValueError, match="went away"):
        blobs.put("broken", _BreaksAtSecondLook(b"x" * (30 * MIB)))
    assert not blobs.exists("broken")
    assert raw._list_multipart_uploads(bucket, prefix="broken").uploads == []


def test_memory_stays_flat_both_ways(blobs: S3Blobs, tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(os.urandom(MIB) * 100)
    tracemalloc.start()
    try:
        with (tmp_path / "large").open("rb") as file:
            blobs.put("large", file)
        assert sum(map(len, blobs.read("large"))) == 100 * MIB
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 40 * MIB


def test_a_full_bucket_is_told_in_words(blobs: S3Blobs, admin: MinioAdmin, bucket: str) -> None:
    blobs.put("before", b"safe")
    admin.bucket_quota_set(bucket, MIB)
    with pytest.raises(FullError) as caught:
        blobs.put("after", b"x" * 2 * MIB)
    assert caught.value.retry_after_s
    assert not blobs.exists("after")
    assert blobs.get("before") == b"safe"


def test_a_wrong_secret_is_told_with_its_setting(settings: Settings) -> None:
    wrong = settings.model_copy(update={"s3_secret_key_file": settings.s3_access_key_file})
    started = time.monotonic()
    with pytest.raises(UnavailableError, match="AIMIC_S3_SECRET_KEY"):
        S3Blobs.of(wrong).ping()
    with pytest.raises(UnavailableError, match="AIMIC_S3_SECRET_KEY"):
        S3Blobs.of(wrong).put("a", b"x")
    assert time.monotonic() - started < 7  # what may pass is tried for 8, each time


def _with_policy(settings: Settings, admin: MinioAdmin, name: str, policy: dict[str, Any] | None = None) -> Settings:
    """The settings with a key that has this policy alone."""
    if policy is not None:
        admin.policy_add(name, policy=policy)
    admin.user_add(f"user-{name}", "its-secret")
    admin.policy_set(name, user=f"user-{name}")
    own = {"s3_access_key": f"user-{name}", "s3_access_key_file": None}
    return Settings.model_validate(
        {**settings.model_dump(), **own, "s3_secret_key": "its-secret", "s3_secret_key_file": None}
    )


def test_a_key_that_may_only_read_is_told_what_it_needs(blobs: S3Blobs, settings: Settings, admin: MinioAdmin) -> None:
    blobs.put("a", b"data")
    reader = S3Blobs.of(_with_policy(settings, admin, "readonly"))
    assert reader.get("a") == b"data"
    with pytest.raises(UnavailableError, match="s3:PutObject"):
        reader.put("a", b"other")


def test_a_key_that_may_not_make_the_bucket_says_so(settings: Settings, admin: MinioAdmin) -> None:
    everything = {"Effect": "Allow", "Action": ["s3:*"], "Resource": ["arn:aws:s3:::*"]}
    no_bucket = {"Effect": "Deny", "Action": ["s3:CreateBucket"], "Resource": ["arn:aws:s3:::*"]}
    policy = {"Version": "2012-10-17", "Statement": [everything, no_bucket]}
    blobs = S3Blobs.of(_with_policy(settings, admin, "no-buckets", policy))
    for ask in (blobs.ping, lambda: blobs.put("a", b"x"), lambda: blobs.put("a", b"x" * 9 * MIB)):
        with pytest.raises(UnavailableError, match="s3:CreateBucket"):
            ask()
    assert not blobs.exists("a")


def test_what_a_worker_wrote_can_be_checked_by_its_etag(
    blobs: S3Blobs, raw: minio.Minio, bucket: str, tmp_path: Path
) -> None:
    (tmp_path / "a").write_bytes(b"data")
    presigned.send(tmp_path / "a", blobs.url_to_put("a", 60))
    found = raw.stat_object(bucket, "a")
    assert found.etag == hashlib.md5(b"data").hexdigest()
    assert "x-amz-meta-sha256" not in (found.metadata or {})
    assert blobs.get("a") == b"data"


def test_an_address_that_expired_asks_for_another(blobs: S3Blobs, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"data")
    blobs.put("a", b"data")
    get, put = blobs.url_to_get("a", 1), blobs.url_to_put("b", 1)
    time.sleep(2.1)
    asks: list[Callable[[], object]] = [
        lambda: presigned.read(get, "it"),
        lambda: presigned.fetch(get, tmp_path / "b", "it"),
        lambda: presigned.send(tmp_path / "a", put),
    ]
    for ask in asks:
        with pytest.raises(presigned.AddressExpiredError):
            ask()
    assert not blobs.exists("b")
