"""Images named in a real S3, read with a key that may read one bucket of it."""

import io
import json
from collections.abc import AsyncIterator
from pathlib import Path

import minio
import pytest
from minio import MinioAdmin
from minio.credentials.providers import StaticProvider

from aimic.domain.site import OWNER
from aimic.errors import ForbiddenError, NotFoundError
from aimic.settings import Settings as Shared
from services.inference.rest.objects import Objects, objects_of
from services.inference.rest.room import Room
from services.inference.settings import Settings
from services.local.servers.minio import Minio
from services.local.servers.together import fields

pytestmark = [pytest.mark.servers, pytest.mark.anyio]
POLICY = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Action": ["s3:GetObject", "s3:ListBucket"], "Resource": ["arn:aws:s3:::open-*"]}
    ],
}


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def bucket(minio_server: Minio, tmp_path: Path) -> str:
    """A bucket `open-…` that the key `reader` may read, and `shut-…` beside it that it may not."""
    shared = Shared(home=tmp_path, **fields(minio_server.environment(bucket=None)))
    host = f"127.0.0.1:{minio_server.port}"
    access, secret = shared.secret("s3_access_key") or "", shared.secret("s3_secret_key") or ""
    store = minio.Minio(host, access, secret, secure=False)
    name = shared.blobs_url.rpartition("/")[2][:40]
    for made in (f"open-{name}", f"shut-{name}"):
        store.make_bucket(made)
        for key in ("cells/b 2.png", "cells/a ü.png", "cells/more/c.png", "other.png"):
            store.put_object(made, key, io.BytesIO(key.encode()), len(key.encode()))
        store.put_object(made, "cells/more/", io.BytesIO(b""), 0)
    (tmp_path / "policy.json").write_text(json.dumps(POLICY))
    admin = MinioAdmin(endpoint=host, credentials=StaticProvider(access, secret), secure=False)
    admin.policy_add("read-open", policy_file=str(tmp_path / "policy.json"))
    admin.user_add("reader", "its-secret")
    admin.policy_set("read-open", user="reader")
    return name


@pytest.fixture
async def objects(minio_server: Minio, bucket: str, tmp_path: Path) -> AsyncIterator[Objects]:
    made = objects_of(
        Settings(
            home=tmp_path,
            s3_access_key="reader",
            s3_secret_key="its-secret",
            inference_s3_url=f"s3+http://127.0.0.1:{minio_server.port}",
            inference_s3_readable={"local": (f"open-{bucket}", f"shut-{bucket}", "open-missing")},
        )
    )
    assert made is not None
    yield made
    made.close()


def room(image_bytes: int = 100) -> Room:
    return Room(10, image_bytes, lambda _: None)


async def test_objects_and_what_is_below_a_prefix(objects: Objects, bucket: str) -> None:
    images = await objects.images([f"s3://open-{bucket}/other.png", f"s3://open-{bucket}/cells/"], OWNER, room())
    keys = ["other.png", "cells/a ü.png", "cells/b 2.png", "cells/more/c.png"]
    assert [(image.name, image.data.decode()) for image in images] == [
        (f"s3://open-{bucket}/{key}", key) for key in keys
    ]
    (cut,) = await objects.images([f"s3://open-{bucket}/other.png"], OWNER, room(4))
    assert cut.data == b"other"


async def test_what_is_missing_or_denied_is_said(objects: Objects, bucket: str) -> None:
    for name in (f"open-{bucket}/none.png", "open-missing/a.png", "open-missing/"):
        with pytest.raises(NotFoundError, match=name):
            await objects.images([f"s3://{name}"], OWNER, room())
    for name in (f"shut-{bucket}/other.png", f"shut-{bucket}/cells/"):
        with pytest.raises(ForbiddenError, match="s3:GetObject"):
            await objects.images([f"s3://{name}"], OWNER, room())
