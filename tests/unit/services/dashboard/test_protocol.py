"""The published protocol is named on every page that shows its numbers."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest
from streamlit.testing.v1 import AppTest

from aimic.client import Client, Retry
from aimic.domain.job import EpochLog, Job, Progress, ProgressKind, Status, TaskView, TrainSettings
from aimic.domain.model import ModelVersion
from services.dashboard.components.connection import GIVEN

NAMED = "published protocol"


def _page(name: str, answers: dict[str, Any], **query: str) -> AppTest:
    def script(name: str) -> None:
        import importlib

        importlib.import_module(f"services.dashboard.pages.{name}").show()

    def serve(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json=answers.get(request.url.path, {"items": [], "next": None}))

    app = AppTest.from_function(script, default_timeout=60, args=(name,))
    http = httpx.Client(transport=httpx.MockTransport(serve))
    app.session_state[GIVEN] = Client("http://localhost", retry=Retry(attempts=1), http=http)
    for key, value in query.items():
        app.query_params[key] = value
    app.run()
    assert not app.exception
    return app


@pytest.mark.parametrize("protocol", ["honest", "paper"])
def test_beside_the_curves(protocol: str, make_job: Callable[..., Job], make_task: Callable[..., TaskView]) -> None:
    settings = TrainSettings.model_validate({"networks": ["mobilenet_v2"], "protocol": protocol})
    job = make_job((make_task(0),), status=Status.DONE, settings=settings)
    numbers: dict[str, Any] = dict.fromkeys(EpochLog.model_fields, 0.5)
    numbers |= {"epoch": 1, "epochs": 2, "best": True, "part": "inner" if protocol == "honest" else "held_out"}
    event = Progress(
        job_id="j1", task_id="fold-0", sequence=1, kind=ProgressKind.EPOCH, data=numbers, at=job.created_at
    )
    answers = {
        "/api/v1/jobs/j1": job.model_dump(mode="json"),
        "/api/v1/jobs/j1/progress": {"items": [event.model_dump(mode="json")], "next": None},
    }
    app = _page("train", answers, job="j1")
    caption = next(part.value for part in app.caption if part.value.startswith("Dashed:"))
    assert (NAMED in caption) == (NAMED in app.subheader[0].value) == (protocol == "paper")


@pytest.mark.parametrize("protocol", ["honest", "paper"])
def test_beside_a_model(protocol: str, model: ModelVersion) -> None:
    shown = model.model_copy(update={"metrics": model.metrics | {"protocol": protocol}})
    app = _page("models", {"/api/v1/models": {"items": [shown.model_dump(mode="json")], "next": None}})
    judged = next(part.value for part in app.markdown if part.value.startswith("Judged on"))
    accuracy = app.metric[0].help
    for text in (app.selectbox[0].options[0], judged, accuracy):
        assert (NAMED in text) == (protocol == "paper")
    assert bool(app.warning) == (protocol == "paper")
