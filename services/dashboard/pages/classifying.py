"""Classify new images: the picture beside the answer."""

import streamlit as st

from aimic.client import Client
from aimic.domain.model import ModelVersion, Stage
from aimic.domain.prediction import PredictResponse
from aimic.errors import AimicError, NotFoundError
from services.dashboard.components.errors import show as show_error
from services.dashboard.views import charts
from services.dashboard.views import predictions as view
from services.dashboard.views.markdown import plain
from services.dashboard.views.pictures import preview
from services.dashboard.views.words import plural

FORMATS = ["jpg", "jpeg", "png", "bmp", "tif", "tiff", "webp", "gif"]
A_PAGE = 12


def show(server: Client, model: ModelVersion) -> None:
    """Choose images; their answers follow at once."""
    if model.stage is Stage.RETIRED:
        st.markdown("This version is retired and answers no more. Choose another one above.")
        return
    files = st.file_uploader(
        "Choose images of cells", FORMATS, accept_multiple_files=True, key=f"classify-{model.name}-{model.version}"
    )
    if not files:
        st.caption(f"One cell a picture, as in {plain(model.dataset or 'the images it learned from')}.")
        return
    images = tuple((file.name, file.getvalue()) for file in files)
    try:
        with st.spinner("Looking …"):
            response = answers(server, model, images)
    except NotFoundError:
        st.info("This model is still being loaded. Try again in a few seconds.", icon=":material/hourglass_empty:")
        st.button("Try again", key="again-loading", icon=":material/refresh:")
        return
    except AimicError as error:
        show_error(error, "classify")
        return
    missing = view.unanswered(response)
    if missing:
        st.warning(f"{plural(missing, 'image')} could not be looked at just now.", icon=":material/warning:")
        st.button("Try again", key="again-missing", icon=":material/refresh:")
    _show(response, images, model)


def answers(server: Client, model: ModelVersion, images: tuple[tuple[str, bytes], ...]) -> PredictResponse:
    """What the model says, asked once for the same images, unless some were not answered for a passing reason."""
    key = (model.name, model.version, model.bundle_hash)
    response = _answers(server, key, images)
    if view.unanswered(response):
        _answers.clear(server, key, images)
    return response


@st.cache_data(show_spinner=False, max_entries=16)
def _answers(_server: Client, model: tuple[str, int, str], images: tuple[tuple[str, bytes], ...]) -> PredictResponse:
    """The same images and bundle (its hash is in `model`) have the same answers: turning pages asks nothing anew."""
    return _server.predict(model[0], images, model[1])


def _show(response: PredictResponse, images: tuple[tuple[str, bytes], ...], model: ModelVersion) -> None:
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.markdown(f"**{plain(view.summary(response))}**")
        st.download_button(
            "Download all answers",
            view.answers_csv(response),
            f"{model.name}-answers.csv",
            "text/csv",
            icon=":material/download:",
            on_click="ignore",
        )
    pages = (len(images) + A_PAGE - 1) // A_PAGE
    page = 1
    if pages > 1:
        page = int(st.number_input(f"Page (of {pages})", 1, pages, 1, width=140))
    shown = list(zip(response.results, images, strict=True))[(page - 1) * A_PAGE : page * A_PAGE]
    for result, (_, data) in shown:
        _one(view.verdict(result), data)
    st.caption(
        f"For research use. Model {plain(response.model)}, version {response.version}; request {response.request_id}."
    )


def _one(verdict: view.Verdict, data: bytes) -> None:
    with st.container(border=True):
        picture, words, bars = st.columns([1, 2, 3], vertical_alignment="center")
        with picture:
            shown = preview(data)
            if shown:
                st.image(shown, width=140, alt=verdict.name)
            else:
                st.caption("No preview of this file.")
        with words:
            st.caption(plain(verdict.name))
            colour = "" if verdict.good else ":material/help: "
            st.markdown(f"### {colour}{plain(verdict.title)}")
            st.markdown(plain(verdict.detail))
        with bars:
            if verdict.bars:
                alt = ", ".join(f"{bar['class']} {bar['probability']:.1%}" for bar in verdict.bars)
                st.altair_chart(charts.probabilities(verdict.bars), alt=alt)
