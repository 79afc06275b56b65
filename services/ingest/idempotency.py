"""Idempotency-Key: a creating POST that is sent again gets the first answer, in the records with the deed."""

import hashlib
from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Header, Request
from pydantic import BaseModel
from sqlalchemy import delete
from sqlalchemy.orm import Mapped, Session, mapped_column
from starlette.responses import JSONResponse, Response

from aimic.domain.base import sha256_of
from aimic.domain.site import Principal
from aimic.errors import AimicError, ConflictError
from services.ingest.database import Database, seconds
from services.ingest.dependencies import Parts
from services.ingest.records import Base, Json, SiteRow
from services.ingest.writing import serialised

KEPT_S = 24 * 3600
T = TypeVar("T")


class IdempotencyRow(SiteRow, Base):
    """The answer that a key got."""

    __tablename__ = "idempotency_keys"

    principal: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    request: Mapped[str]
    """SHA-256 of method, path and body."""
    status: Mapped[int]
    body: Mapped[dict[str, Any]] = mapped_column(Json)
    created_at: Mapped[datetime] = mapped_column(index=True)


class Once:
    """Carries out a creating request once per key; without a key, each time."""

    def __init__(self, database: Database, route: str, key: str | None) -> None:
        self._database = database
        self._route = route
        self._key = hashlib.sha256(key.encode()).hexdigest() if key else None

    def answered(self, principal: Principal, request: BaseModel) -> Response | None:
        """The first answer, if there is one: asked before long preparations."""
        with self._database.read(principal.site) as session:
            return self._recall(session, principal, request)

    def after(
        self,
        principal: Principal,
        request: BaseModel,
        prepare: Callable[[], T],
        work: Callable[[Session, T], BaseModel],
        status: int = 201,
    ) -> Response:
        """`work` with what a long preparation gave, outside of any unit of work; the first answer, if there is one."""
        if (earlier := self.answered(principal, request)) is not None:
            return earlier
        try:
            prepared = prepare()
        except AimicError:
            # Sent twice at once, the other may have used up meanwhile what this one was to prepare.
            if (earlier := self.answered(principal, request)) is not None:
                return earlier
            raise
        return self.run(principal, request, lambda session: work(session, prepared), status)

    def run(
        self, principal: Principal, request: BaseModel, work: Callable[[Session], BaseModel], status: int = 201
    ) -> Response:
        """`work` in one unit of work with the key; its answer, or the first one.

        ConflictError when the key came with another request before.
        """
        with self._database.begin(principal.site) as session:
            if self._key is not None:  # the same request at another replica waits here for our answer
                serialised(session, "idempotency", principal.site, principal.name, self._key)
            if (earlier := self._recall(session, principal, request)) is not None:
                return earlier
            body = work(session).model_dump(mode="json")
            if self._key is not None:
                session.add(
                    IdempotencyRow(
                        site=principal.site,
                        principal=principal.name,
                        key=self._key,
                        request=self._digest(request),
                        status=status,
                        body=body,
                        created_at=self._database.now(session),
                    )
                )
            return JSONResponse(body, status)

    def _recall(self, session: Session, principal: Principal, request: BaseModel) -> Response | None:
        if self._key is None:
            return None
        row = session.get(IdempotencyRow, (principal.site, principal.name, self._key))
        if row is None:
            return None
        if row.request != self._digest(request):
            raise ConflictError("This Idempotency-Key was used for another request. Use a new key for a new wish.")
        return JSONResponse(row.body, row.status, headers={"idempotency-replayed": "true"})

    def _digest(self, request: BaseModel) -> str:
        return sha256_of([self._route, request.model_dump(mode="json")])


def forget_old(session: Session, now: datetime) -> None:
    """Keys are kept for a day."""
    session.execute(delete(IdempotencyRow).where(IdempotencyRow.created_at < now - seconds(KEPT_S)))


def once(request: Request, parts: Parts, idempotency_key: Annotated[str | None, Header(max_length=255)] = None) -> Once:
    """FastAPI dependency."""
    return Once(parts.database, f"{request.method} {request.url.path}", idempotency_key)


CarriedOutOnce = Annotated[Once, Depends(once)]
