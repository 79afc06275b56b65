"""`s3+http(s)://host[:port]/bucket[?region=…]`, read and checked."""

import re
from typing import NamedTuple
from urllib.parse import SplitResult, parse_qs, urlsplit

from minio.helpers import check_bucket_name

FORM = "s3+https://host[:port]/bucket[?region=…]"
_AWS_REGION = re.compile(r"(?:^|\.)s3[.-](?:dualstack\.)?([a-z]{2}(?:-[a-z]+)+-\d+)\.amazonaws\.com(?:\.cn)?$")


class Endpoint(NamedTuple):
    """A server that speaks S3: `host` with its port, if it isn't the usual one."""

    host: str
    secure: bool

    @property
    def url(self) -> str:
        """For people and for proxies' rules."""
        return f"{'https' if self.secure else 'http'}://{self.host}"


class Address(NamedTuple):
    """Where the objects are, and under which name workers reach that place."""

    endpoint: Endpoint
    bucket: str
    region: str
    worker_endpoint: Endpoint


def parse(url: str, worker_url: str = "") -> Address:
    """ValueError, in words that name the setting, when an address isn't one."""
    parts = urlsplit(url)
    endpoint = _endpoint(parts, "AIMIC_BLOBS_URL", "s3+")
    bucket = parts.path.strip("/")
    query = parse_qs(parts.query, keep_blank_values=True)
    if parts.fragment or query.keys() - {"region"} or not all(query.get("region", ["-"])):
        raise ValueError(f"AIMIC_BLOBS_URL: only ?region=NAME may follow the bucket ({FORM}).")
    try:
        check_bucket_name(bucket, strict=True)
    except ValueError:
        raise ValueError(
            f"AIMIC_BLOBS_URL: {bucket!r} can't be the name of a bucket (3 to 63 of a-z, 0-9, '-' and '.'): {FORM}."
        ) from None
    worker = _endpoint(urlsplit(worker_url), "AIMIC_S3_WORKER_URL", "") if worker_url else endpoint
    return Address(endpoint, bucket, _region(parts, query), worker)


def _region(parts: SplitResult, query: dict[str, list[str]]) -> str:
    # Never asked of the store: that needs one more permission, and addresses for workers are made without a call.
    # Stores other than AWS's take us-east-1 unless they were told another name.
    if "region" in query:
        return query["region"][0]
    found = _AWS_REGION.search(parts.hostname or "")
    return found[1] if found else "us-east-1"


def _endpoint(parts: SplitResult, setting: str, prefix: str) -> Endpoint:
    if parts.username is not None or parts.password is not None:
        # Not repeated here: this goes to the log.
        raise ValueError(f"{setting} holds a user or password. Put them in AIMIC_S3_ACCESS_KEY and _SECRET_KEY.")
    try:
        port = parts.port
    except ValueError:
        raise ValueError(f"{setting}: the port isn't a number from 0 to 65535.") from None
    if parts.scheme not in {f"{prefix}http", f"{prefix}https"} or not parts.hostname:
        raise ValueError(f"{setting} must begin with {prefix}http://host or {prefix}https://host.")
    if not prefix and (parts.path.strip("/") or parts.query or parts.fragment):
        raise ValueError(f"{setting} is only http(s)://host[:port]: the bucket and the rest are AIMIC_BLOBS_URL's.")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return Endpoint(host if port is None else f"{host}:{port}", parts.scheme.endswith("https"))
