"""Keyed hashes of a site: equal for equal things of one site, and no help to anybody else."""

import hashlib
import hmac
import secrets

from sqlalchemy.orm import Session

from services.ingest.database import database_clock
from services.ingest.sites.tables import SiteRecord
from services.ingest.writing import insert_new


class SiteKey:
    """HMAC-SHA256 under a site's key; each purpose has hashes of its own."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def received(self, data: bytes) -> str:
        """Of bytes as they came: tells a second copy without keeping the first."""
        return self._of(b"received", data)

    def name(self, name: str) -> str:
        """Of a file's path as the owner knows it."""
        return self._of(b"name", name.encode(errors="surrogateescape"))

    def group(self, group: str) -> str:
        """Of a real patient or slide; the same in all data sets of the site, so that they can be compared."""
        return self._of(b"group", group.encode(errors="surrogateescape"))

    def _of(self, purpose: bytes, data: bytes) -> str:
        return hmac.new(self._key, purpose + b"\0" + data, hashlib.sha256).hexdigest()


def site_key(session: Session, site: str) -> SiteKey:
    """The site's key, drawn at its first use; `session` is a unit of work that writes."""
    row = session.get(SiteRecord, site)
    if row is None:
        drawn = {"site": site, "key": secrets.token_bytes(32), "created_at": database_clock(session)}
        insert_new(session, SiteRecord, [drawn])
        row = session.get_one(SiteRecord, site)  # perhaps the one that another replica drew at this moment
    return SiteKey(row.key)
