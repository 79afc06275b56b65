"""The S3 adapter's requests, answered by a store in this process."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

import pytest
import urllib3
from urllib3 import exceptions

from aimic.adapters import s3_connection
from aimic.adapters.s3_blobs import S3Blobs
from aimic.adapters.s3_parts import PART
from aimic.errors import ConflictError, CorruptError, FullError, NotFoundError, UnavailableError
from aimic.settings import Settings

pytestmark = pytest.mark.usefixtures("pauses")


class Request(NamedTuple):
    """What a request asked for."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes
    host: str


Answer = Callable[[Request], "urllib3.HTTPResponse | Exception"]


class Store(urllib3.PoolManager):
    """Answers in turn; the last answer stays."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Request] = []
        self.answers: list[Answer] = []

    def urlopen(self, method: str, url: str, redirect: bool = True, **more: Any) -> Any:  # type: ignore[override] # a narrower answer
        parts = urlsplit(url)
        headers = {name.lower(): value for name, value in more["headers"].items()}
        query = parse_qs(parts.query, keep_blank_values=True)
        self.seen.append(Request(method, parts.path, query, headers, more.get("body") or b"", parts.netloc))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        answered = answer(self.seen[-1])
        if isinstance(answered, Exception):
            raise answered
        return answered


def _says(status: int, body: bytes = b"", **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}

    def answer(_: Request) -> urllib3.HTTPResponse:
        length = {"content-length": str(len(body))} | named
        return urllib3.HTTPResponse(io.BytesIO(body), status=status, headers=length, preload_content=False)

    return answer


def _refuses(status: int, code: str) -> Answer:
    return _says(status, f"<Error><Code>{code}</Code></Error>".encode(), content_type="application/xml")


def _breaks(_: Request) -> Exception:
    return exceptions.ProtocolError("Connection aborted.")


def _xml(text: str) -> Answer:
    return _says(200, text.encode(), content_type="application/xml")


CREATED = _xml("<R><UploadId>u1</UploadId></R>")
COMPLETED = _xml("<R><ETag>e</ETag></R>")


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Store:
    made = Store()
    monkeypatch.setattr(s3_connection, "_pool", lambda *_: made)
    return made


@pytest.fixture
def blobs(store: Store, tmp_path: Path) -> S3Blobs:
    return S3Blobs.of(Settings(home=tmp_path, blobs_url="s3+http://store/cells", s3_access_key="a", s3_secret_key="s"))


def test_a_small_object_is_one_request_that_names_its_hash_twice(blobs: S3Blobs, store: Store) -> None:
    store.answers = [_says(200)]
    blobs.put("a/b", b"data")
    (seen,) = store.seen
    assert (seen.method, seen.path, seen.body) == ("PUT", "/cells/a/b", b"data")
    assert seen.headers["x-amz-meta-sha256"] == seen.headers["x-amz-content-sha256"]


def test_what_may_pass_is_asked_again(blobs: S3Blobs, store: Store) -> None:
    store.answers = [_breaks, _refuses(503, "SlowDown"), _says(200)]
    blobs.put("a", b"data")
    assert [seen.body for seen in store.seen] == [b"data"] * 3


def test_a_full_store_is_not_pestered(blobs: S3Blobs, store: Store) -> None:
    store.answers = [_refuses(507, "XMinioStorageFull")]
    with pytest.raises(FullError):
        blobs.put("a", b"data")
    assert len(store.seen) == 1


def test_a_missing_bucket_is_made_by_a_put(blobs: S3Blobs, store: Store) -> None:
    store.answers = [_refuses(404, "NoSuchBucket"), _says(200), _says(200)]
    blobs.put("a", b"data")
    assert [seen.path for seen in store.seen] == ["/cells/a", "/cells", "/cells/a"]


@pytest.mark.parametrize(
    ("code", "words"), [("AccessDenied", "s3:CreateBucket"), ("BucketAlreadyExists", "another name")]
)
def test_a_bucket_that_cannot_be_made_is_told(blobs: S3Blobs, store: Store, code: str, words: str) -> None:
    store.answers = [_refuses(404, "NoSuchBucket"), _refuses(403, code)]
    with pytest.raises(UnavailableError, match=words):
        blobs.put("a", b"data")
    assert len(store.seen) == 2


def test_two_that_make_the_bucket_at_once_are_both_content(blobs: S3Blobs, store: Store) -> None:
    store.answers = [_refuses(404, "NoSuchBucket"), _refuses(409, "BucketAlreadyOwnedByYou"), _says(200)]
    blobs.put("a", b"data")


def test_a_bucket_that_is_being_made_may_refuse_at_first(blobs: S3Blobs, store: Store) -> None:
    store.answers = [_refuses(403, "AccessDenied"), _refuses(403, "AccessDenied"), _says(200)]
    blobs.put("a", b"data")
    assert len(store.seen) == 3


def test_a_refusal_is_believed_where_the_bucket_is_old(
    blobs: S3Blobs, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.answers = [_says(200), _refuses(403, "AccessDenied")]
    blobs.put("a", b"data")
    monkeypatch.setattr(s3_connection, "_YOUNG_S", 0.0)
    with pytest.raises(UnavailableError, match="s3:PutObject"):
        blobs.put("a", b"data")
    assert len(store.seen) == 2


def test_a_refusal_that_stays_is_told_soon(blobs: S3Blobs, store: Store) -> None:
    store.answers = [_refuses(403, "AccessDenied")]
    with pytest.raises(UnavailableError, match="s3:PutObject"):
        blobs.put("a", b"data")
    assert len(store.seen) == 6


def test_a_download_goes_on_where_it_broke_if_the_object_is_the_same(blobs: S3Blobs, store: Store) -> None:
    first = _says(200, b"0123", content_length="10", etag='"e-1"')
    store.answers = [first, _breaks, _says(206, b"456789", etag='"e-1"', content_range="bytes 4-9/10")]
    assert blobs.get("a") == b"0123456789"
    again = store.seen[-1].headers
    assert (again["range"], again["if-match"]) == ("bytes=4-9", '"e-1"')


def test_halves_of_two_objects_never_meet(blobs: S3Blobs, store: Store) -> None:
    store.answers = [_says(200, b"0123", content_length="10", etag='"e-1"'), _refuses(412, "PreconditionFailed")]
    with pytest.raises(UnavailableError, match="replaced"):
        blobs.get("a")


def test_a_damaged_object_never_comes_whole(blobs: S3Blobs, store: Store) -> None:
    store.answers = [_says(200, b"data", x_amz_meta_sha256="0" * 64)]
    pieces = blobs.read("a")
    with pytest.raises(CorruptError):
        list(pieces)
    with pytest.raises(CorruptError):
        list(blobs.read("a", 0, 100))


def test_a_part_of_an_object_is_given_unchecked(blobs: S3Blobs, store: Store) -> None:
    store.answers = [_says(206, b"da", x_amz_meta_sha256="0" * 64, content_range="bytes 0-1/4")]
    assert b"".join(blobs.read("a", 0, 2)) == b"da"


def test_missing_is_told_before_the_first_piece(blobs: S3Blobs, store: Store) -> None:
    store.answers = [_refuses(404, "NoSuchKey")]
    with pytest.raises(NotFoundError):
        blobs.read("a")


def _large() -> io.BytesIO:
    return io.BytesIO(b"x" * (PART + 1))


def test_a_part_that_fails_is_sent_again_alone(blobs: S3Blobs, store: Store) -> None:
    store.answers = [CREATED, _breaks, _says(200, etag="p1"), _says(200, etag="p2"), COMPLETED]
    assert blobs.put("a", _large()).size == PART + 1
    parts = [seen.query.get("partNumber") for seen in store.seen]
    assert parts == [None, ["1"], ["1"], ["2"], None]
    assert store.seen[0].headers["x-amz-meta-sha256"]


def test_an_upload_that_fails_is_taken_back(blobs: S3Blobs, store: Store) -> None:
    store.answers = [CREATED, _refuses(507, "XMinioStorageFull"), _says(204)]
    with pytest.raises(FullError):
        blobs.put("a", _large())
    assert (store.seen[-1].method, store.seen[-1].query) == ("DELETE", {"uploadId": ["u1"]})


def test_success_with_an_error_inside_is_an_error(blobs: S3Blobs, store: Store) -> None:
    store.answers = [
        CREATED,
        _says(200, etag="p"),
        _says(200, etag="p"),
        _xml("<Error><Code>InternalError</Code></Error>"),
    ]
    with pytest.raises(UnavailableError):
        blobs.put("a", _large())


def test_a_completion_whose_answer_was_lost_is_recognised(blobs: S3Blobs, store: Store) -> None:
    def there(_: Request) -> urllib3.HTTPResponse:
        response = _says(200, x_amz_meta_sha256=store.seen[0].headers["x-amz-meta-sha256"])(_)
        assert isinstance(response, urllib3.HTTPResponse)
        return response

    part = _says(200, etag="p")
    store.answers = [CREATED, part, part, _breaks, _refuses(404, "NoSuchUpload"), there]
    blobs.put("a", _large())
    assert store.seen[-1].method == "HEAD"


class _Changes(io.BytesIO):
    """A file that somebody writes to between our two looks."""

    def seek(self, position: int, whence: int = 0, /) -> int:
        self.getbuffer()[0] = 0
        return super().seek(position, whence)


def test_a_source_that_changes_is_not_stored(blobs: S3Blobs, store: Store) -> None:
    store.answers = [CREATED, _says(200, etag="p"), _says(200, etag="p"), _says(204)]
    with pytest.raises(ConflictError, match="changed"):
        blobs.put("a", _Changes(_large().getvalue()))
    assert store.seen[-1].method == "DELETE"


def test_addresses_name_the_host_that_workers_reach(store: Store, tmp_path: Path) -> None:
    blobs = S3Blobs.of(
        Settings(
            home=tmp_path,
            blobs_url="s3+http://store/cells",
            s3_worker_url="https://s3.hospital.example",
            s3_access_key="a",
            s3_secret_key="hunter2",
        )
    )
    store.answers = [_says(200)]
    for url in (blobs.url_to_get("a/b", 10**9), blobs.url_to_put("a/b", 10**9), blobs.url_to_put("a/b", 10**9)):
        parts = urlsplit(url)
        assert (parts.scheme, parts.netloc, parts.path) == ("https", "s3.hospital.example", "/cells/a/b")
        assert parse_qs(parts.query)["X-Amz-Expires"] == [str(7 * 24 * 3600)]
        assert "hunter2" not in url
    assert [(seen.method, seen.path) for seen in store.seen] == [("HEAD", "/cells")]


AWS = "s3.eu-central-1.amazonaws.com"


@pytest.mark.parametrize(
    ("url", "host", "path"),
    [
        ("s3+http://store:9000/cells", "store:9000", "/cells/a/b"),
        ("s3+http://store:9000/cells?style=path", "store:9000", "/cells/a/b"),
        ("s3+http://store:9000/cells?style=virtual", "cells.store:9000", "/a/b"),
        (f"s3+https://{AWS}/cells", f"cells.{AWS}", "/a/b"),
        (f"s3+https://{AWS}/cells?style=path", AWS, "/cells/a/b"),
    ],
)
def test_the_bucket_stands_in_the_path_or_before_the_host(
    store: Store, tmp_path: Path, url: str, host: str, path: str
) -> None:
    settings = Settings(home=tmp_path, blobs_url=url, s3_access_key="a", s3_secret_key="s")
    blobs = S3Blobs.of(settings)
    store.answers = [_says(200)]
    blobs.put("a/b", b"data")
    assert [(seen.host, seen.path) for seen in store.seen] == [(host, path)]
    for signed in map(urlsplit, (blobs.url_to_get("a/b", 60), blobs.url_to_put("a/b", 60))):
        assert (signed.netloc, signed.path) == (host, path)


def test_workers_get_addresses_in_the_style_that_is_named(store: Store, tmp_path: Path) -> None:
    blobs = S3Blobs.of(
        Settings(
            home=tmp_path,
            blobs_url="s3+http://store/cells?style=virtual",
            s3_worker_url="https://s3.hospital.example",
            s3_access_key="a",
            s3_secret_key="s",
        )
    )
    parts = urlsplit(blobs.url_to_get("a/b", 60))
    assert (parts.netloc, parts.path) == ("cells.s3.hospital.example", "/a/b")


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({}, "AIMIC_S3_ACCESS_KEY"),
        ({"s3_access_key": "a", "s3_secret_key": "s", "s3_ca_file": "/none"}, "AIMIC_S3_CA_FILE"),
        ({"s3_access_key": "a", "s3_secret_key": "s", "blobs_url": "s3+http://store"}, "AIMIC_BLOBS_URL"),
    ],
)
def test_settings_that_cannot_work_end_the_start(tmp_path: Path, more: dict[str, str], words: str) -> None:
    settings = {"home": tmp_path, "blobs_url": "s3+http://store/cells", **more}
    with pytest.raises(SystemExit, match=words):
        S3Blobs.of(Settings.model_validate(settings))
