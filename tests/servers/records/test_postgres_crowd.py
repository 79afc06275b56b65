"""Everybody at once: people, workers, the sweeper and the relay of two replicas."""

import random
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select

from aimic.domain.job import Status
from services.ingest.dependencies import Ingest
from services.ingest.jobs.tables import ProgressRow
from services.ingest.relay import Relay
from services.ingest.tasks.sweeper import Sweeper
from services.ingest.tasks.tables import TaskRow
from services.local.servers.postgres import Postgres, PostgresDatabase
from tests.servers.records.together import at_once

pytestmark = pytest.mark.servers
SECONDS = 6
Call = tuple[str, dict[str, Any]]
EPOCH: Call = ("progress", {"events": [{"kind": "epoch", "data": {"epoch": 1, "epochs": 2, "seconds": 1.0}}]})
ENDS: list[Call] = [("finish", {"result": {}}), ("release", {}), ("fail", {"reason": "x", "retry": False})]
JOB = {"dataset": "cells", "settings": {"networks": ["resnet34"], "split": {"kind": "kfold", "k": 3}}}


def _person(client: TestClient, seed: int, end: float) -> list[str]:
    draw, bad = random.Random(seed), []
    while time.monotonic() < end:
        made = client.post("/api/v1/jobs", json=JOB)
        answers = [made, client.get(f"/api/v1/jobs/{made.json()['id']}")]
        time.sleep(draw.random())
        if draw.random() < 0.3:
            answers.append(client.post(f"/api/v1/jobs/{made.json()['id']}/cancel"))
        bad += [answer.text for answer in answers if answer.status_code >= 500]
    return bad


def _worker(client: TestClient, seed: int, end: float) -> list[str]:
    draw, bad = random.Random(seed), []
    while time.monotonic() < end:
        answers = [client.post("/api/v1/tasks/claim", json={"worker": str(seed)})]
        if answers[0].status_code == 200:
            claim = answers[0].json()
            for verb, more in (EPOCH, draw.choice(ENDS)):
                body, token = {"fence": claim["fence"], **more}, {"X-Task-Token": claim["token"]}
                answers.append(client.post(f"/api/v1/tasks/{claim['task']['id']}/{verb}", json=body, headers=token))
        bad += [answer.text for answer in answers if answer.status_code >= 500]
    return bad


def _house(parts: Ingest, end: float) -> list[str]:
    sweeper, relay = Sweeper(parts), Relay(parts)
    while time.monotonic() < end:
        sweeper.run_one()
        relay.run_one()
    return []


def test_a_crowd_meets_no_deadlock_and_each_task_is_done_once(
    scene: Any, clients: Sequence[TestClient], postgres_server: Postgres, records: PostgresDatabase
) -> None:
    """Jobs are begun, worked on, reported, given back, stopped and relayed by all at once for some seconds."""
    end = time.monotonic() + SECONDS
    bad = at_once(
        *(partial(_person, client, seed, end) for seed, client in enumerate(clients)),
        *(partial(_worker, client, seed, end) for seed, client in enumerate((*clients, *clients))),
        partial(_house, scene.parts, end),
    )
    assert [text for texts in bad for text in texts] == []
    with postgres_server.administrator() as connection:
        query = "SELECT deadlocks FROM pg_stat_database WHERE datname = %s"
        assert connection.execute(query, (records.name,)).fetchone() == (0,)
    with scene.parts.database.read("*") as session:
        tasks = session.scalars(select(TaskRow).where(TaskRow.status == Status.DONE)).all()
        done = ProgressRow.data["status"].as_string() == "done"
        told = select(ProgressRow.task_id).where(ProgressRow.task_id.is_not(None), done)
        assert tasks and sorted(task.id for task in tasks) == sorted(session.scalars(told))
