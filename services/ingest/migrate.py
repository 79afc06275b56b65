"""Bringing the records up to the newest schema: at start, under a lock, so that replicas don't do it twice."""

import logging
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text

from services.ingest.database import Database

logger = logging.getLogger(__name__)

_LOCK = 0x61696D6963
"""Any number that nobody else locks: "aimic" in ASCII."""


def migrate(database: Database) -> None:
    """Run what migrations are missing, all in one transaction."""
    with database.writing.connect() as connection, connection.begin():
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        command.upgrade(config(connection), "head")
    logger.info("the records have the newest schema")


def config(connection: Connection) -> Config:
    """Alembic's configuration on this connection; there is no alembic.ini, since nothing is set there."""
    made = Config()
    made.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    made.set_main_option("path_separator", "os")
    made.attributes["connection"] = connection
    return made
