"""A model is judged on another data set from its page."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest
from streamlit.testing.v1 import AppTest

from aimic.client import Client, Retry
from aimic.domain.dataset import DatasetVersion, Refusal
from aimic.domain.model import Evaluation, ModelVersion
from services.dashboard.components.connection import GIVEN
from services.dashboard.views import evaluations as view

Evaluated = Callable[..., Evaluation]


@pytest.fixture
def evaluated(model: ModelVersion) -> Evaluated:
    def make(**more: Any) -> Evaluation:
        fields: dict[str, Any] = {
            "id": "e1",
            "model": model.name,
            "version": 1,
            "dataset": "clinic",
            "dataset_version": 1,
            "status": "running",
            "judged": 10,
            "left_out": (Refusal(name="a*b*.png", code="same_pixels", reason="The model learned from this image."),),
            "created_at": model.created_at,
        }
        return Evaluation(**fields | more)

    return make


class Platform:
    """Answers what the Models page asks."""

    def __init__(self, model: ModelVersion, version: DatasetVersion, evaluation: Evaluation) -> None:
        self.evaluation = evaluation
        self.asked: list[bytes] = []
        dataset = {"name": "clinic", "latest": version.model_dump(mode="json"), "created_at": "2026-01-01T00:00:00Z"}
        self._lists: dict[str, Any] = {
            "/api/v1/models": {"items": [model.model_dump(mode="json")], "next": None},
            "/api/v1/datasets": {"items": [dataset], "next": None},
        }

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.url.path in self._lists:
            return httpx.Response(200, json=self._lists[request.url.path])
        if request.method == "POST":
            assert request.url.path.endswith("/versions/1/evaluate")
            self.asked.append(request.content)
        return httpx.Response(200, json=self.evaluation.model_dump(mode="json"))

    def open(self, **query: str) -> AppTest:
        def script() -> None:
            from services.dashboard.pages import models

            models.show()

        app = AppTest.from_function(script, default_timeout=60)
        http = httpx.Client(transport=httpx.MockTransport(self))
        app.session_state[GIVEN] = Client("http://localhost", retry=Retry(attempts=1), http=http)
        for key, value in query.items():
            app.query_params[key] = value
        return app.run()


def _words(app: AppTest) -> str:
    return "\n".join(str(part.value) for part in (*app.markdown, *app.caption, *app.error, *app.info))


def test_it_is_started_followed_and_shown(model: ModelVersion, version: DatasetVersion, evaluated: Evaluated) -> None:
    platform = Platform(model, version, evaluated())
    app = platform.open()
    assert not app.exception and not platform.asked
    app.button(key="judge").click().run()
    assert not app.exception
    assert b"clinic" in platform.asked[0]
    assert "version 1, on clinic: running" in _words(app)

    platform.evaluation = evaluated(status="done", metrics=model.metrics)
    app = platform.open(evaluation="e1")
    assert not app.exception
    assert "10 images judged; 1 image left out." in _words(app)
    assert "For new images of the same patients." in _words(app)
    assert app.metric[-1].value == "80.0 %"
    assert app.dataframe[-1].value["File"].tolist() == ["a*b*.png"]
    assert app.dataframe[-1].value["Why"].tolist() == ["The model learned from this image."]


def test_a_failure_says_why(model: ModelVersion, version: DatasetVersion, evaluated: Evaluated) -> None:
    platform = Platform(model, version, evaluated(status="failed", error="The disk is full."))
    app = platform.open(evaluation="e1")
    assert not app.exception
    assert "The disk is full. The model and the images are untouched" in app.error[0].value


def test_another_model_s_judgement_is_not_shown(
    model: ModelVersion, version: DatasetVersion, evaluated: Evaluated
) -> None:
    app = Platform(model, version, evaluated(status="done", version=7, metrics=model.metrics)).open(evaluation="e1")
    assert not app.exception
    assert "judged;" not in _words(app)


def test_what_is_not_known_is_a_dash(evaluated: Evaluated) -> None:
    assert view.result(evaluated(left_out=())) == view.Result(
        "–", "", "blood-mobilenet_v2, version 1, on clinic: 10 images judged.", ""
    )
