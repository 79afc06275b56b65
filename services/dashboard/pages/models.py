"""The Models page: how good a model is, and new images classified by it."""

import streamlit as st

from aimic.client import Client
from aimic.domain.model import ModelVersion, Stage
from services.dashboard.components import links
from services.dashboard.components.connection import client
from services.dashboard.components.errors import plainly
from services.dashboard.pages import classifying, judging
from services.dashboard.views import charts
from services.dashboard.views import models as view
from services.dashboard.views.markdown import plain


def show() -> None:
    """The page."""
    st.title("Models")
    with plainly(by_itself=True):
        server = client()
        versions = server.models.list()
        if not versions:
            st.markdown("No model yet. A training makes one, with an honest account of how good it is.")
            links.to("Train", "Train a model", "to-train")
            return
        keys = [f"{model.name}:{model.version}" for model in versions]
        wished = st.query_params.get("model")
        chosen = st.selectbox(
            "Model",
            keys,
            index=keys.index(wished) if wished in keys else 0,
            format_func=lambda key: view.label(versions[keys.index(key)]),
            width=520,
        )
        model = versions[keys.index(chosen or keys[0])]
        tabs = ["How good is it?", "Classify images", "Judge on another data set"]
        judged, classify, elsewhere = st.tabs(tabs, key="tab")
        with judged:
            _judged(server, model)
        with classify:
            classifying.show(server, model)
        with elsewhere:
            judging.show(server, model)


def _judged(server: Client, model: ModelVersion) -> None:
    head = view.headline(model)
    st.caption(plain(view.facts(model)))
    if head.protocol:
        st.warning(head.protocol, icon=":material/warning:")
    first, second = st.columns([1, 2], gap="large", vertical_alignment="center")
    with first.container(border=True):
        st.metric("Accuracy", head.accuracy, help=view.accuracy_help(model))
        if head.interval:
            st.caption(f"95 % interval: {head.interval}")
        if head.folds:
            st.caption(f"Over the rounds: {head.folds} (mean ± standard deviation)")
    with second:
        st.markdown(view.judged_on(model))
        if head.statement:
            st.markdown(plain(head.statement))
    for column, (name, value, meaning) in zip(st.columns(3), view.other_numbers(model), strict=True):
        column.metric(name, value, help=meaning, border=True)
    _matrix(model)
    _keep(server, model)


def _matrix(model: ModelVersion) -> None:
    cells = view.confusion_cells(model)
    st.subheader("Which classes are mixed up")
    if cells:
        mistakes = view.mistakes(model)
        # With many classes the matrix needs the whole width, and the words go below.
        matrix, beside = (
            st.columns([2, 1], gap="large") if len(model.classes) <= 8 else (st.container(), st.container())
        )
        matrix.altair_chart(charts.confusion(cells), alt="Confusion matrix. " + "; ".join(mistakes), width="content")
        with beside:
            st.markdown("**Most frequent mix-ups**" if mistakes else "**No mix-ups**")
            st.markdown("\n".join(f"- {plain(text)}" for text in mistakes))
            st.caption("Rows: the truth. Columns: the model's answer. Number of images, and part of the row.")
    else:
        st.caption("No confusion matrix came with this model.")
    st.subheader("Class by class")
    st.dataframe(view.class_rows(model), hide_index=True)


def _keep(server: Client, model: ModelVersion) -> None:
    st.subheader("Use it")
    with st.container(horizontal=True, vertical_alignment="center"):
        if model.stage is Stage.SERVING:
            st.badge("In use: this version answers", icon=":material/check_circle:", color="green")
        elif st.button("Use this version", type="primary", icon=":material/verified:"):
            server.models.promote(model.name, model.version)
            st.rerun()
        st.download_button(
            "Download the model",
            lambda: server.models.bundle(model.name, model.version),
            f"{model.name}-{model.version}.aimic",
            "application/octet-stream",
            icon=":material/download:",
            on_click="ignore",
            help=f"One file, to use in another AIMIC. Its fingerprint is {model.bundle_hash}.",
        )
