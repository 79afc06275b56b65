"""Addresses of S3 stores."""

import pytest

from aimic.adapters.s3_address import parse


@pytest.mark.parametrize(
    ("url", "host", "secure", "bucket", "region"),
    [
        ("s3+http://127.0.0.1:9000/aimic", "127.0.0.1:9000", False, "aimic", "us-east-1"),
        ("s3+https://s3.hospital.example/cells.of.2026/", "s3.hospital.example", True, "cells.of.2026", "us-east-1"),
        ("s3+https://store/aimic?region=eu-west", "store", True, "aimic", "eu-west"),
        ("s3+http://[::1]:9000/aimic", "[::1]:9000", False, "aimic", "us-east-1"),
        (
            "s3+https://s3.eu-central-1.amazonaws.com/aimic",
            "s3.eu-central-1.amazonaws.com",
            True,
            "aimic",
            "eu-central-1",
        ),
    ],
)
def test_an_address_is_read(url: str, host: str, secure: bool, bucket: str, region: str) -> None:
    found = parse(url)
    assert found.endpoint == (host, secure)
    assert (found.bucket, found.region) == (bucket, region)
    assert found.worker_endpoint == found.endpoint


def test_workers_may_know_the_store_by_another_name() -> None:
    found = parse("s3+http://minio:9000/aimic", "https://s3.hospital.example")
    assert found.worker_endpoint == ("s3.hospital.example", True)


def test_the_style_is_left_to_the_host_unless_it_is_named() -> None:
    assert parse("s3+https://store/aimic").style == ""
    assert parse("s3+https://store/aimic?style=path").style == "path"
    assert parse("s3+https://store:9000/aimic?region=ward-7&style=virtual").style == "virtual"
    assert parse("s3+http://store/cells.of.2026?style=virtual").style == "virtual"


@pytest.mark.parametrize(
    ("url", "worker", "words"),
    [
        ("s3+http://store/aimic?style=dns", "", "path .* or virtual"),
        ("s3+http://store/aimic?style=", "", "path .* or virtual"),
        ("s3+http://10.0.0.7:9000/aimic?style=virtual", "", "must be a name"),
        ("s3+http://[::1]:9000/aimic?style=virtual", "", "must be a name"),
        ("s3+http://store/aimic?style=virtual", "http://10.0.0.7", "must be a name"),
        ("s3+https://store/cells.of.2026?style=virtual", "", "certificate"),
        ("s3+http://store", "", "bucket"),
        ("s3+http://store/a/b", "", "bucket"),
        ("s3+http://store/UP", "", "bucket"),
        ("s3+http:///aimic", "", "AIMIC_BLOBS_URL"),
        ("s3+http://store:x/aimic", "", "port"),
        ("s3+http://store/aimic?zone=1", "", "region"),
        ("s3+http://store/aimic?region=", "", "region"),
        ("s3+http://store/aimic", "store:9000", "AIMIC_S3_WORKER_URL"),
        ("s3+http://store/aimic", "http://store/path", "AIMIC_S3_WORKER_URL"),
    ],
)
def test_what_is_no_address_is_said_with_its_setting(url: str, worker: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse(url, worker)


def test_a_password_in_an_address_is_refused_and_not_repeated() -> None:
    with pytest.raises(ValueError, match="AIMIC_S3_ACCESS_KEY") as caught:
        parse("s3+http://me:hunter2@store/aimic")
    assert "hunter2" not in str(caught.value)
