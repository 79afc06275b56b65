"""Images that were stored for an import which ended before it recorded them: noted when it ends, removed later."""

import re
from collections.abc import Set

from sqlalchemy.orm import Session

from services.ingest.database import Database
from services.ingest.datasets.tables import ObjectRow
from services.ingest.tasks.repository import let_die
from services.ingest.writing import insert_new, serialised

AFTER_S = 24 * 3600
"""Seconds for which somebody may start the import again, and so name them."""
_KEY = re.compile(r"[^/]+/samples/[0-9a-f]{2}/([0-9a-f]{64})/([0-9]+)")


def note(session: Session, database: Database, site: str, keys: Set[str]) -> None:
    """Have these keys (of `sample_key`) looked at later; those that are named by then stay."""
    let_die(session, site, set(keys), database.now(session), AFTER_S)


def may_go(database: Database, site: str, key: str) -> bool:
    """Whether a noted object may be removed. Of an image: only if no row names it, and from here on none ever will.

    The row says then that this generation is dying, so that an import which has just stored the same bytes under the
    same key is refused at its commit, and stores them as the next generation.
    """
    match = _KEY.fullmatch(key)
    if match is None:
        return True
    sha256, generation = match[1], int(match[2])
    with database.begin(site) as session:
        serialised(session, "objects", site)  # as every import's commit
        now = database.now(session)
        new = {"site": site, "sha256": sha256, "generation": generation, "size": 0, "refs": 0, "dying_at": now}
        insert_new(session, ObjectRow, [new])
        row = session.get_one(ObjectRow, (site, sha256), with_for_update=True)
        if row.dying_at is not None:
            row.generation = max(row.generation, generation)
        return row.generation > generation or (row.generation == generation and row.dying_at is not None)
