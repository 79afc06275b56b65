"""The pages themselves, run by Streamlit's own test runner, over a real ingest in this process."""

import io
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from fastapi.testclient import TestClient
from PIL import Image
from streamlit.testing.v1 import AppTest

from aimic.client import Client, Retry
from aimic.domain.dataset import ImportStatus
from aimic.domain.job import JobRequest, TrainSettings
from services.dashboard.components.connection import GIVEN
from services.ingest.app import compose, create_app
from services.ingest.migrate import migrate
from services.ingest.settings import Settings

Open = Callable[..., AppTest]
QUICK = Retry(attempts=1, first_s=0.01)


@pytest.fixture(scope="module")
def ingest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A client of an ingest that runs here, without a socket."""
    parts = compose(Settings(home=tmp_path_factory.mktemp("home")))
    migrate(parts.database)
    with TestClient(create_app(parts), "http://localhost") as inside:

        def bridge(request: httpx.Request) -> httpx.Response:
            answer = inside.request(
                request.method, str(request.url), content=request.read(), headers=dict(request.headers)
            )
            headers = {k: v for k, v in answer.headers.items() if k not in {"content-encoding", "content-length"}}
            return httpx.Response(answer.status_code, headers=headers, content=answer.content)

        http = httpx.Client(transport=httpx.MockTransport(bridge))
        yield Client("http://localhost", retry=QUICK, http=http)
    parts.database.close()


@pytest.fixture
def nobody() -> Client:
    """A client whose server is away."""

    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    return Client("http://localhost:1", retry=QUICK, http=httpx.Client(transport=httpx.MockTransport(refuse)))


@pytest.fixture
def open_page() -> Open:
    """`open_page("data", client)`: the page as a visitor finds it."""

    def script(name: str) -> None:
        import importlib

        importlib.import_module(f"services.dashboard.pages.{name}").show()

    def open_(name: str, client: Client, **query: str) -> AppTest:
        app = AppTest.from_function(script, default_timeout=60, args=(name,))
        app.session_state[GIVEN] = client
        for key, value in query.items():
            app.query_params[key] = value
        return app.run()

    return open_


def _words(app: AppTest) -> str:
    return "\n".join(str(part.value) for part in (*app.markdown, *app.caption, *app.error, *app.info, *app.success))


def _button(app: AppTest, label: str) -> bool:
    return any(button.label == label for button in app.button)


@pytest.fixture(scope="module")
def imported(ingest: Client) -> Client:
    """The ingest, with twelve images of two classes, three patients and a file that is no image."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for n in range(12):
            png = io.BytesIO()
            Image.effect_noise((40, 40), 60 + n).convert("RGB").save(png, "PNG")
            archive.writestr(f"{'ab'[n % 2]}/P{n % 3}_{n}.png", png.getvalue())
        archive.writestr("a/P0_broken.png", b"no image")
    state = ingest.datasets.import_(out.getvalue(), "noise")
    assert state.status is ImportStatus.DONE, state.error
    return ingest


@pytest.mark.parametrize("page", ["data", "train", "models"])
def test_without_a_server_each_page_says_so_and_offers_another_try(page: str, open_page: Open, nobody: Client) -> None:
    app = open_page(page, nobody)
    assert not app.exception
    assert "AIMIC's server is away" in app.error[0].value
    assert _button(app, "Try again")
    assert "tries again by itself" in _words(app)


@pytest.mark.parametrize(
    ("page", "words", "button"),
    [
        ("data", "Nothing here yet", "Import"),
        ("train", "no images to learn from yet", "Bring in images first"),
        ("models", "No model yet", "Train a model"),
    ],
)
def test_an_empty_page_says_what_to_do_next(
    page: str, words: str, button: str, open_page: Open, tmp_path: Path, ingest: Client
) -> None:
    app = open_page(page, ingest)
    assert not app.exception
    assert words in _words(app)
    assert _button(app, button)


def test_the_data_page_shows_what_came_in(open_page: Open, imported: Client) -> None:
    app = open_page("data", imported)
    assert not app.exception
    assert {metric.label: metric.value for metric in app.metric} == {
        "Images": "12",
        "Classes": "2",
        "Patients or slides": "not known",
        "Files refused": "1",
    }
    assert "**a**" in _words(app)
    assert app.dataframe[0].value["File"].tolist() == ["a/P0_broken.png"]


def test_an_import_of_the_past_is_found_by_its_address(open_page: Open, imported: Client) -> None:
    state = imported.datasets.import_(b"this is no archive and no image", "noise")
    app = open_page("data", imported, **{"import": state.id})
    assert not app.exception
    assert "noise" in _words(app)
    assert _button(app, "Close")
    unknown = open_page("data", imported, **{"import": "not-there"})
    assert not unknown.exception
    assert unknown.error


def test_choices_change_what_is_said_and_offered(open_page: Open, imported: Client) -> None:
    app = open_page("train", imported)
    assert not app.exception
    assert "5 times, each time setting aside another 20 %" in app.info[0].value
    start, depth, judge = app.radio
    assert len(depth.options) == 3
    start.set_value("none")
    judge.set_value("holdout")
    app.run()
    assert not app.exception
    assert app.radio[1].options == ["Thorough"]
    assert "sets 20 % of the images aside" in app.info[0].value


def test_starting_shows_the_training_and_cancelling_ends_it(open_page: Open, imported: Client) -> None:
    app = open_page("train", imported)
    app.radio[0].set_value("none").run()
    next(box for box in app.number_input if box.label == "Rounds").set_value(2).run()
    next(button for button in app.button if button.label == "Start training").click().run()
    assert not app.exception
    job = imported.jobs.list()[0]
    assert job.id in app.query_params["job"]
    assert "The learning curves appear after the first epoch." in _words(app)
    assert (job.dataset, job.settings.split.k, job.settings.weights) == ("noise", 2, "none")
    app.button(key="cancel").click().run()
    assert not app.exception
    assert "Cancelled." in _words(app)
    listed = open_page("train", imported)
    assert "Cancelled" in _words(listed)


def test_what_can_not_be_done_is_said_and_nothing_is_started(open_page: Open, imported: Client) -> None:
    before = len(imported.jobs.list())
    app = open_page("train", imported)
    app.radio[0].set_value("none").run()
    next(box for box in app.number_input if box.label == "Rounds").set_value(50).run()
    next(button for button in app.button if button.label == "Start training").click().run()
    assert not app.exception
    assert len(app.error) == 1
    assert len(imported.jobs.list()) == before


def test_a_training_that_is_not_there_is_said(open_page: Open, imported: Client) -> None:
    app = open_page("train", imported, job="nothing")
    assert not app.exception
    assert app.error
    assert _button(app, "All trainings")


def test_a_job_of_another_client_is_shown_too(open_page: Open, imported: Client) -> None:
    request = JobRequest(dataset="noise", settings=TrainSettings(networks=("resnet34", "vgg16"), epochs=1))
    job = imported.jobs.create(request.model_copy(update={"settings": request.settings}))
    app = open_page("train", imported, job=job.id)
    assert not app.exception
    assert "ResNet-34 and VGG-16 on noise" in [part.value for part in app.subheader]
    imported.jobs.cancel(job.id)


def test_hostile_names_are_shown_as_they_are(open_page: Open, ingest: Client) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for n in range(6):
            png = io.BytesIO()
            Image.effect_noise((40, 40), 90 + n).convert("RGB").save(png, "PNG")
            archive.writestr(f"{('*a* $x$ [b](c)', ':red[d] _e_')[n % 2]}/{n}.png", png.getvalue())
    assert ingest.datasets.import_(out.getvalue(), "hostile").status is ImportStatus.DONE
    app = open_page("data", ingest, set="hostile")
    assert not app.exception
    rows = [part.value for part in app.markdown if part.value.endswith("  \n3 images")]
    assert rows[0].startswith(r"**\*a\* \$x\$ \[b\](c)**")
    assert rows[1].startswith("**:\u2060red\\[d\\] \\_e\\_**")
    assert not [part.value for part in app.markdown if "*a* $x$" in part.value or ":red[" in part.value]
