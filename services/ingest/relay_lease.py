"""The lease of the relay: of all replicas one publishes, and another goes on soon after that one died."""

import contextlib
import time
from uuid import uuid4

from prometheus_client import Gauge
from sqlalchemy import delete, select

from aimic.domain.site import PLATFORM_SITE
from aimic.errors import AimicError
from services.ingest.database import Database, seconds
from services.ingest.outbox import RELAY, NamedLeaseRow
from services.ingest.writing import put, serialised

LEASE_S = 3.0
RENEW_S = 1.5
LOOK_S = 1.0
"""Between two looks of one that doesn't hold it: with the lease's length, another takes over within 5 s."""

HOLDER = Gauge("aimic_ingest_relay_holder", "1 where this process is the one that publishes events")


class RelayLease:
    """Whether this process relays. Times are the database's."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._me = uuid4().hex
        self._renewed_at = float("-inf")

    def hold(self) -> bool:
        """Take the lease, or renew it when that is due; whether it is ours."""
        if time.monotonic() - self._renewed_at < RENEW_S:
            return True
        began, held = time.monotonic(), False
        try:
            held = self._take()
        finally:
            self._renewed_at = began if held else float("-inf")
            HOLDER.set(held)
        return held

    def give_up(self) -> None:
        """Another may take it at once."""
        if self._renewed_at == float("-inf"):
            return
        self._renewed_at = float("-inf")
        HOLDER.set(0)
        mine = (NamedLeaseRow.site == PLATFORM_SITE, NamedLeaseRow.name == RELAY, NamedLeaseRow.holder == self._me)
        # With the records away nobody can take it before it has run out anyway.
        with contextlib.suppress(AimicError), self._database.system() as session:
            session.execute(delete(NamedLeaseRow).where(*mine))

    def _take(self) -> bool:
        with self._database.system() as session:
            serialised(session, "lease", RELAY)
            now = self._database.now(session)
            query = select(NamedLeaseRow).where(NamedLeaseRow.site == PLATFORM_SITE, NamedLeaseRow.name == RELAY)
            lease = session.scalar(query.with_for_update())
            if lease is not None and lease.holder != self._me and lease.lease_until >= now:
                return False
            until = now + seconds(LEASE_S)
            put(
                session, NamedLeaseRow, {"site": PLATFORM_SITE, "name": RELAY, "holder": self._me, "lease_until": until}
            )
            return True
