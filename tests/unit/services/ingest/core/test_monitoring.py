"""What operators see."""

from typing import Any

from services.ingest.monitoring import RecordsCollector


def _values(scene: Any) -> dict[tuple[str, ...], float]:
    collected = RecordsCollector(scene.parts).collect()
    samples = (sample for family in collected for sample in family.samples)
    return {(sample.name, *sample.labels.values()): sample.value for sample in samples}


def test_claimable_tasks_are_those_that_a_worker_would_get_now(scene: Any) -> None:
    scene.start()
    assert _values(scene)["aimic_ingest_claimable_tasks",] == 2
    scene.claim()
    values = _values(scene)
    assert values["aimic_ingest_claimable_tasks",] == 1
    assert values["aimic_ingest_tasks", "running"] == 1 and values["aimic_ingest_tasks", "waiting"] == 3
    assert values["aimic_ingest_outbox_messages",] == 2
    assert values["aimic_ingest_outbox_oldest_seconds",] < 20
    assert values["aimic_ingest_stale_tasks",] == 0
    scene.clock.ahead_s = 31
    values = _values(scene)
    assert values["aimic_ingest_claimable_tasks",] == 2 and values["aimic_ingest_stale_tasks",] == 1
    assert 31 <= values["aimic_ingest_outbox_oldest_seconds",] < 60


def test_nothing_waits_has_no_age(scene: Any) -> None:
    values = _values(scene)
    assert values["aimic_ingest_outbox_messages",] == values["aimic_ingest_outbox_oldest_seconds",] == 0
