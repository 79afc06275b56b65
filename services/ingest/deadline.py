"""A connection to PostgreSQL that doesn't wait for ever: a server that hangs can't keep its own time-outs."""

from typing import Any

import psycopg
from psycopg import errors
from psycopg.abc import RV, PQGen

from services.ingest.engines import ANSWER_S

_INTERVAL_S = 0.1


class DeadlineConnection(psycopg.Connection[Any]):
    """Gives up, and closes itself, when no answer comes within ANSWER_S."""

    def wait(self, gen: PQGen[RV], interval: float = _INTERVAL_S, timeout: float | None = None) -> RV:
        """As psycopg's; OperationalError instead of waiting beyond the deadline."""
        if timeout is not None:  # the caller's own, who knows what to do then
            return super().wait(gen, interval, timeout)
        try:
            return super().wait(gen, interval, ANSWER_S)
        except errors._WaitTimeout:
            self.pgconn.finish()  # whether the statement was done can't be known: nobody may go on with this connection
            raise psycopg.OperationalError(f"no answer within {ANSWER_S:g} s") from None
