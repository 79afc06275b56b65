"""Objects by presigned addresses, of a store in this process."""

import hashlib
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from aimic.errors import CorruptError, FullError, NotFoundError, UnavailableError
from services.trainer import presigned

pytestmark = pytest.mark.usefixtures("pauses")

URL = "http://store/cells/key?X-Amz-Signature=secret"
Answer = httpx.Response | Exception


class Store:
    """Answers in turn; the last answer stays."""

    def __init__(self) -> None:
        self.seen: list[httpx.Request] = []
        self.answers: list[Answer] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        request.read()
        self.seen.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Store:
    made = Store()
    client = httpx.Client(transport=httpx.MockTransport(made))
    monkeypatch.setattr(presigned, "client", lambda: client)
    return made


def _refusal(status: int, code: str) -> httpx.Response:
    return httpx.Response(status, text=f"<Error><Code>{code}</Code></Error>")


def _part(data: bytes, **headers: str) -> httpx.Response:
    """An answer whose connection breaks after `data`."""

    def stream() -> Iterator[bytes]:
        yield data
        raise httpx.ReadError("reset")

    return httpx.Response(200, content=stream(), headers=headers)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a"
    path.write_bytes(b"data")
    return path


def test_a_store_that_stumbles_is_sent_the_file_again_with_its_md5(store: Store, file: Path) -> None:
    store.answers = [httpx.ConnectError("away"), _refusal(503, "SlowDown"), httpx.Response(200)]
    presigned.send(file, URL)
    assert [request.content for request in store.seen] == [b"data"] * 3
    sent = store.seen[-1].headers
    assert sent["content-length"] == "4"
    assert sent["content-md5"] == b64encode(hashlib.md5(b"data").digest()).decode()
    assert "transfer-encoding" not in sent


def test_a_bucket_that_is_gone_is_no_missing_object(store: Store, file: Path) -> None:
    store.answers = [_refusal(404, "NoSuchBucket")]
    with pytest.raises(UnavailableError, match="bucket"):
        presigned.send(file, URL)


def test_a_store_that_stays_away_is_told_after_a_bounded_time(
    store: Store, tmp_path: Path, pauses: list[float]
) -> None:
    store.answers = [httpx.ConnectError("away")]
    with pytest.raises(UnavailableError, match="can't be reached"):
        presigned.fetch(URL, tmp_path / "x", "it")
    assert 0 < sum(pauses) <= presigned.READ_PATIENCE_S
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (_refusal(404, "NoSuchKey"), NotFoundError),
        (_refusal(403, "AccessDenied"), presigned.AddressExpiredError),
        (_refusal(400, "ExpiredToken"), presigned.AddressExpiredError),
        (_refusal(507, "XMinioStorageFull"), FullError),
        (_refusal(400, "InvalidArgument"), UnavailableError),
        (_refusal(307, "TemporaryRedirect"), UnavailableError),
        (httpx.ConnectError("[SSL: CERTIFICATE_VERIFY_FAILED] self-signed"), UnavailableError),
    ],
)
def test_what_waiting_cannot_help_is_told_at_once(
    store: Store, file: Path, answer: Answer, kind: type[Exception]
) -> None:
    asks: list[Callable[[], object]] = [
        lambda: presigned.read(URL, "it"),
        lambda: presigned.fetch(URL, file.with_name("x"), "it"),
    ]
    if kind is not NotFoundError:
        asks.append(lambda: presigned.send(file, URL))
    for number, ask in enumerate(asks, 1):
        store.answers = [answer]
        with pytest.raises(kind) as caught:
            ask()
        assert type(caught.value) is kind
        assert "secret" not in str(caught.value)
        assert len(store.seen) == number


def test_a_broken_download_goes_on_where_it_broke(store: Store, tmp_path: Path) -> None:
    etag = hashlib.md5(b"0123456789").hexdigest()
    store.answers = [_part(b"0123", etag=etag), _refusal(503, "SlowDown"), httpx.Response(206, content=b"456789")]
    presigned.fetch(URL, tmp_path / "x", "it")
    assert (tmp_path / "x").read_bytes() == b"0123456789"
    assert store.seen[-1].headers["range"] == "bytes=4-"
    assert store.seen[-1].headers["if-match"] == etag


@pytest.mark.parametrize("answer", [httpx.Response(200, content=b"new one"), _refusal(412, "PreconditionFailed")])
def test_halves_of_two_objects_never_meet(store: Store, tmp_path: Path, answer: httpx.Response) -> None:
    store.answers = [_part(b"old", etag="1"), answer, httpx.Response(200, content=b"new one")]
    presigned.fetch(URL, tmp_path / "x", "it")
    assert (tmp_path / "x").read_bytes() == b"new one"


def test_a_download_whose_object_has_no_etag_begins_anew(store: Store, tmp_path: Path) -> None:
    store.answers = [_part(b"01"), httpx.Response(200, content=b"0123")]
    presigned.fetch(URL, tmp_path / "x", "it")
    assert (tmp_path / "x").read_bytes() == b"0123"
    assert "range" not in store.seen[-1].headers


def test_damaged_bytes_are_read_once_more_and_never_used(store: Store, tmp_path: Path) -> None:
    etag = {"etag": hashlib.md5(b"data").hexdigest()}
    store.answers = [httpx.Response(200, content=b"dat!", headers=etag)]
    for ask in (lambda: presigned.read(URL, "it"), lambda: presigned.fetch(URL, tmp_path / "x", "it")):
        store.seen.clear()
        with pytest.raises(CorruptError, match="damaged"):
            ask()
        assert len(store.seen) == 2
    assert list(tmp_path.iterdir()) == []
    store.answers.append(httpx.Response(200, content=b"data", headers=etag))
    presigned.fetch(URL, tmp_path / "x", "it")
    assert (tmp_path / "x").read_bytes() == b"data"


def test_the_hash_that_is_named_decides(store: Store) -> None:
    store.answers = [httpx.Response(200, content=b"data", headers={"x-amz-meta-sha256": "0" * 64})]
    assert presigned.read(URL, "it", hashlib.sha256(b"data").hexdigest()) == b"data"
    with pytest.raises(CorruptError):
        presigned.read(URL, "it")


def test_certificates_that_cannot_be_read_are_told_with_their_setting(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="AIMIC_S3_CA_FILE"):
        presigned.open_client(tmp_path / "none")
