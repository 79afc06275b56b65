"""Two replicas at once: equal requests have one effect and two good answers, and what is counted is counted once."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import func, select, text

from aimic.domain.job import JobRequest, Status, TrainSettings
from aimic.domain.model import Stage
from aimic.domain.site import OWNER
from aimic.domain.split import SplitRequest
from aimic.errors import ConflictError, NotFoundError
from aimic.nets.bundle import BundleInfo
from services.ingest.audit.service import first_broken, record
from services.ingest.database import Database
from services.ingest.datasets.tables import ObjectRow, SampleRow, VersionRow
from services.ingest.dependencies import Ingest
from services.ingest.engines import BUSY_S
from services.ingest.jobs import planning
from services.ingest.jobs.service import JobService
from services.ingest.jobs.tables import JobRow
from services.ingest.models.bundles import StoredBundle
from services.ingest.models.service import Origin, promote, register
from services.ingest.models.tables import ModelRow, ModelVersionRow
from services.ingest.outbox import OutboxRow
from services.ingest.relay import Relay
from services.ingest.sites.service import site_key
from services.ingest.tasks.sweeper import Sweeper
from services.ingest.tasks.tokens import secret_of
from services.ingest.uploads.service import UploadService
from tests.servers.records.together import at_once

pytestmark = pytest.mark.servers
Replica = Callable[..., Database]


def _post(client: TestClient, path: str, body: Any, **headers: str) -> Callable[[], Any]:
    return lambda: client.post(f"/api/v1/{path}", json=body, headers=headers)


def test_the_same_request_twice_at_once_is_carried_out_once(scene: Any, clients: Sequence[TestClient]) -> None:
    body = {"dataset": "cells", "settings": {"networks": ["resnet34"], "split": {"kind": "kfold", "k": 2}}}
    for n in range(5):
        key = {"Idempotency-Key": f"wish {n}"}
        answers = at_once(*(_post(client, "jobs", body, **key) for client in (*clients, *clients)))
        assert [answer.status_code for answer in answers] == [201] * 4
        assert len({answer.json()["id"] for answer in answers}) == 1
    assert len(scene.client.get("/api/v1/jobs").json()["items"]) == 5


def test_claims_at_once_never_give_one_task_to_two(scene: Any, clients: Sequence[TestClient]) -> None:
    for _ in range(2):
        scene.start(split={"kind": "kfold", "k": 3})
    claims = [_post(client, "tasks/claim", {"worker": "w"}) for client in (*clients, *clients, *clients, *clients)]
    answers = at_once(*claims)
    given = [answer.json()["task"]["id"] for answer in answers if answer.status_code == 200]
    assert {answer.status_code for answer in answers} == {200, 204}
    assert len(given) == len(set(given)) == 6


def test_a_task_finished_twice_at_once_counts_once(scene: Any, clients: Sequence[TestClient]) -> None:
    job = scene.start()
    for kind in ("fold", "fold"):
        claim = scene.claim(kinds=[kind])
        path, token = f"tasks/{claim['task']['id']}/finish", {"X-Task-Token": claim["token"]}
        finish = {"fence": claim["fence"], "result": {"x": 1}}
        answers = at_once(*(_post(client, path, finish, **token) for client in (*clients, *clients)))
        assert [answer.status_code for answer in answers] == [204] * 4
    items = scene.client.get(f"/api/v1/jobs/{job['id']}/progress").json()["items"]
    done = [item["task_id"] for item in items if item["data"].get("status") == "done"]
    assert len(done) == len(set(done)) == 2
    assert [item["sequence"] for item in items] == sorted({item["sequence"] for item in items})
    assert scene.claim(kinds=["judge"]) is not None


def test_the_sweeper_beside_finish_and_another_claim(scene: Any, clients: Sequence[TestClient]) -> None:
    scene.start(split={"kind": "kfold", "k": 5})
    while (claim := scene.claim(kinds=["fold"])) is not None:
        with scene.parts.database.system() as session:
            session.execute(text("UPDATE tasks SET lease_until = now() - interval '1 s' WHERE status = 'running'"))
        path, token = f"tasks/{claim['task']['id']}/finish", {"X-Task-Token": claim["token"]}
        finished, claimed, _ = at_once(
            _post(clients[1], path, {"fence": claim["fence"], "result": {}}, **token),
            _post(clients[0], "tasks/claim", {"worker": "other", "kinds": ["fold"]}),
            Sweeper(scene.parts).run_one,
        )
        again = claimed.status_code == 200 and claimed.json()["task"]["id"] == claim["task"]["id"]
        assert finished.status_code == (409 if again else 204), finished.text
        if claimed.status_code == 200:
            assert scene.tell(claimed.json(), "finish", result={}).status_code == 204


def test_rows_that_another_holds_keep_the_relay_waiting_for_nothing(scene: Any, replica: Replica) -> None:
    jobs = [scene.start()["id"] for _ in range(3)]
    relay, unpublished = Relay(scene.parts), select(JobRow.id).where(JobRow.published < JobRow.sequence)
    lost = replica()

    def open_() -> tuple[list[str], int]:
        with scene.parts.database.read("*") as session:
            return list(session.scalars(unpublished)), len(session.scalars(select(OutboxRow)).all())

    with lost.begin("local") as session:
        session.execute(text("SELECT 1 FROM jobs WHERE id = :id FOR UPDATE"), {"id": jobs[1]})
        session.execute(text("SELECT 1 FROM outbox ORDER BY aggregate LIMIT 1 FOR UPDATE"))
        began = time.monotonic()
        relay.run_one()
        assert time.monotonic() - began < BUSY_S / 2
        assert open_() == ([jobs[1]], 1)
    relay.run_one()
    assert open_() == ([], 0)


def _bundle(n: int) -> StoredBundle:
    told: dict[str, Any] = {"network": "resnet34", "classes": ("a",), "metrics": {}, "manifest_hash": "m"}
    info = BundleInfo.model_construct(**told)
    return StoredBundle(hash=f"hash {n}", key=f"local/bundles/{n}", size=1, info=info)


def test_models_of_one_name_are_numbered_without_a_gap_and_one_serves(replica: Replica) -> None:
    replicas = [replica(), replica()]

    def registers(n: int) -> Callable[[], None]:
        def work() -> None:
            with replicas[n % 2].begin("local") as session:
                register(session, _bundle(n), "cells", Origin("local", "me"), replicas[0].now(session))

        return work

    def promotes(number: int) -> Callable[[], None]:
        def work() -> None:
            with replicas[number % 2].begin("local") as session:
                promote(session, OWNER, "cells", number, replicas[0].now(session))

        return work

    at_once(*(registers(n) for n in range(6)))
    at_once(*(promotes(number) for number in range(1, 7)))
    with replicas[0].read("local") as session:
        rows = session.scalars(select(ModelVersionRow).order_by(ModelVersionRow.version)).all()
        assert [row.version for row in rows] == [1, 2, 3, 4, 5, 6]
        assert [row.stage for row in rows].count(Stage.SERVING) == 1
        model = session.get_one(ModelRow, ("local", "cells"))
        assert 6 <= model.versions < model.sequence <= 12
    assert first_broken(replicas[0], "local") is None


def test_a_bundle_imported_twice_at_once_is_registered_once(scene: Any, clients: Sequence[TestClient]) -> None:
    job = scene.start()
    scene.finish_all(job)
    exported = clients[0].get("/api/v1/models/cells-resnet34/versions/1/bundle").content
    for n in range(3):
        uploads = UploadService(scene.parts)
        upload = uploads.create(OWNER, len(exported), "model.aimic", None)[0].upload.id
        uploads.record("local", upload, 0, [uploads.stage("local", upload, exported)])
        key = {"Idempotency-Key": f"import {n}"}
        body = {"upload": upload, "name": f"again-{n}"}
        answers = at_once(*(_post(client, "models/import", body, **key) for client in (*clients, *clients)))
        assert [answer.status_code for answer in answers] == [201] * 4, [answer.text for answer in answers]
        assert [answer.json()["version"] for answer in answers] == [1] * 4


def test_keys_and_secrets_are_drawn_once(replica: Replica) -> None:
    replicas = [replica(), replica()]

    def draws(database: Database) -> Callable[[], str]:
        def work() -> str:
            with database.begin("local") as session:
                return site_key(session, "local").name("x")

        return work

    assert len(set(at_once(*(draws(database) for database in replicas * 3)))) == 1
    assert len(set(at_once(*((lambda d=database: secret_of(d)) for database in replicas * 3)))) == 1


def test_the_first_entries_of_the_audit_log_are_one_chain(replica: Replica) -> None:
    replicas = [replica(), replica()]

    def notes(n: int) -> Callable[[], None]:
        def work() -> None:
            with replicas[n % 2].begin("local") as session:
                record(session, replicas[0].now(session), "local", "me", "thing.do", str(n))

        return work

    at_once(*(notes(n) for n in range(8)))
    with replicas[0].read("local") as session:
        numbers = session.scalars(text("SELECT number FROM audit ORDER BY number")).all()
    assert numbers == list(range(1, 9))
    assert first_broken(replicas[1], "local") is None


def test_a_job_planned_before_another_locked_its_images_is_refused(
    scene: Any, make_parts: Callable[..., Ingest]
) -> None:
    def plan(parts: Ingest, lock_test: float) -> planning.Plan:
        split = SplitRequest(kind="kfold", k=2, lock_test=lock_test)
        settings = TrainSettings(networks=("resnet34",), split=split)
        return planning.prepare(parts, OWNER, JobRequest(dataset="cells", settings=settings))

    parts = [scene.parts, make_parts()]
    reads, locks = plan(parts[0], 0.0), plan(parts[1], 0.3)
    with parts[1].database.begin("local") as session:
        JobService(parts[1]).start(session, OWNER, locks)
    with pytest.raises(ConflictError, match="locked away"), parts[0].database.begin("local") as session:
        JobService(parts[0]).start(session, OWNER, reads)
    assert len(scene.client.get("/api/v1/jobs").json()["items"]) == 1


def test_imports_at_once_share_images_and_lose_none(make_lab: Callable[[], Any], draw: Callable[..., bytes]) -> None:
    labs = [make_lab(), make_lab()]
    shared = {f"red/{n}.png": draw(n) for n in range(6)}
    own = [{f"blue/{lab}-{n}.png": draw(100 + 10 * lab + n) for n in range(3)} for lab in (0, 1)]
    backwards = dict(reversed((shared | own[1]).items()))
    labs[0].start(shared | own[0], "first")
    labs[1].start(backwards, "second")
    labs[0].start(own[0], "both")
    labs[1].start(own[1], "both")

    def works(lab: Any) -> Callable[[], None]:
        def work() -> None:
            deadline = time.monotonic() + 60
            while time.monotonic() < deadline and not _all_over(lab.parts.database):
                lab.worker.run_one()
                time.sleep(0.05)

        return work

    at_once(*(works(lab) for lab in labs))
    database = labs[0].parts.database
    with database.read("local") as session:
        states = session.execute(text("SELECT dataset, status, error FROM imports")).all()
        assert {status for _, status, _ in states} == {Status.DONE}, states
        assert session.scalar(select(func.count()).select_from(SampleRow)) == 12
        refs = session.scalars(select(ObjectRow.refs).order_by(ObjectRow.refs)).all()
        newest = {
            name: sum(counts)
            for name, counts in session.execute(
                text("SELECT d.name, v.counts FROM dataset_versions v JOIN datasets d ON d.id = v.dataset_id "
                     "ORDER BY v.version")
            )
        }  # fmt: skip
        numbers = session.execute(select(VersionRow.dataset_id, VersionRow.version)).all()
    assert refs == [2] * 12
    assert newest == {"first": 9, "second": 9, "both": 6}
    assert len(numbers) == len(set(numbers))


def _all_over(database: Database) -> bool:
    with database.read("local") as session:
        return not session.scalar(text("SELECT count(*) FROM imports WHERE status IN ('ready', 'running')"))


def test_an_upload_that_is_written_to_while_it_expires_is_not_swept(make_parts: Callable[..., Ingest]) -> None:
    parts, other = make_parts(), make_parts()
    uploads, sweeper = UploadService(parts), UploadService(other)
    upload = uploads.create(OWNER, 2, "cells.zip", None)[0].upload.id
    expire = text("UPDATE uploads SET expires_at = now() - interval '1 s'")
    extend = text("UPDATE uploads SET expires_at = now() + interval '1 h'")
    with parts.database.system() as session:
        session.execute(expire)
    with ThreadPoolExecutor(1) as pool:
        with parts.database.begin("local") as session:
            session.execute(extend)  # as a piece does that came in time and isn't committed yet
            swept = pool.submit(sweeper.sweep)
            time.sleep(0.5)
            assert not swept.done()
        swept.result()
    assert uploads.show("local", upload).upload.length == 2
    with parts.database.system() as session:
        session.execute(expire)
    sweeper.sweep()
    with pytest.raises(NotFoundError):
        uploads.show("local", upload)
