"""`s3+http(s)://host[:port]/bucket[?region=…&style=…]`, read and checked."""

import ipaddress
import re
from typing import NamedTuple
from urllib.parse import SplitResult, parse_qs, urlsplit

from minio.helpers import check_bucket_name

FORM = "s3+https://host[:port]/bucket[?region=…&style=…]"
STYLES = ("path", "virtual")
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
    style: str = ""
    """Where requests name the bucket: `path` (host/bucket/key) or `virtual` (bucket.host/key). When it is empty, the
    way that the host is known for: virtual on AWS and Alibaba, path elsewhere."""


def parse(url: str, worker_url: str = "") -> Address:
    """ValueError, in words that name the setting, when an address isn't one."""
    parts = urlsplit(url)
    endpoint = _endpoint(parts, "AIMIC_BLOBS_URL", "s3+")
    bucket = parts.path.strip("/")
    query = parse_qs(parts.query, keep_blank_values=True)
    if parts.fragment or query.keys() - {"region", "style"} or not all(query.get("region", ["-"])):
        raise ValueError(f"AIMIC_BLOBS_URL: only region=NAME and style=path or virtual may follow the bucket ({FORM}).")
    try:
        check_bucket_name(bucket, strict=True)
    except ValueError:
        raise ValueError(
            f"AIMIC_BLOBS_URL: {bucket!r} can't be the name of a bucket (3 to 63 of a-z, 0-9, '-' and '.'): {FORM}."
        ) from None
    worker = _endpoint(urlsplit(worker_url), "AIMIC_S3_WORKER_URL", "") if worker_url else endpoint
    return Address(endpoint, bucket, _region(parts, query), worker, _style(query, bucket, (endpoint, worker)))


def _style(query: dict[str, list[str]], bucket: str, endpoints: tuple[Endpoint, ...]) -> str:
    (style,) = query.get("style", [""])[-1:]
    if "style" in query and style not in STYLES:
        raise ValueError("AIMIC_BLOBS_URL: style is path (host/bucket/key) or virtual (bucket.host/key).")
    if style != "virtual":
        return style
    if any(_is_number(endpoint.host) for endpoint in endpoints):
        raise ValueError("AIMIC_BLOBS_URL: style=virtual puts the bucket before the host, which must be a name then.")
    if "." in bucket and any(endpoint.secure for endpoint in endpoints):
        # The client would fall back to paths without a word.
        raise ValueError(
            f"AIMIC_BLOBS_URL: no certificate is for {bucket}.host; style=virtual by https needs a bucket without '.'."
        )
    return style


def _is_number(host: str) -> bool:
    name = host.rpartition("]")[0].lstrip("[") if host.startswith("[") else host.partition(":")[0]
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


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
