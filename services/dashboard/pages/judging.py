"""Judge a model on another data set, without any image that it could know."""

import streamlit as st

from aimic.client import Client
from aimic.domain.job import Status
from aimic.domain.model import Evaluation, ModelVersion
from services.dashboard.components import notes
from services.dashboard.components.errors import plainly
from services.dashboard.views import evaluations as view
from services.dashboard.views.markdown import plain

EVERY_S = 2


def show(server: Client, model: ModelVersion) -> None:
    """Choose a data set; the result follows, and stays in the address."""
    names = [dataset.name for dataset in server.datasets.list() if dataset.latest is not None]
    if not names:
        st.caption("There are no images yet. Bring some in on the Data page.")
        return
    st.markdown(
        "How good is it on images from elsewhere? Images that it learned from, copies of them, and images of the "
        "same patients are left out and listed."
    )
    name = st.selectbox("Images to judge it on", names, key="judge-set", width=420)
    if st.button("Judge", type="primary", key="judge", icon=":material/fact_check:"):
        with plainly("judge"):
            st.query_params["evaluation"] = server.models.evaluate(model.name, str(name), model.version).id
            st.rerun()
    asked = st.query_params.get("evaluation")
    if asked:
        with plainly("judged"):
            _follow(server, model, asked)


def _follow(server: Client, model: ModelVersion, evaluation_id: str) -> None:
    now = server.models.evaluation(evaluation_id)
    if (now.model, now.version) != (model.name, model.version):
        return
    if Status(now.status).over:
        _over(now)
    else:
        _live(server, evaluation_id)


@st.fragment(run_every=EVERY_S)
def _live(server: Client, evaluation_id: str) -> None:
    with plainly("judging"):
        now = server.models.evaluation(evaluation_id)
        if Status(now.status).over:
            st.rerun()
        st.info(plain(view.progress(now)), icon=":material/hourglass_empty:")
        st.caption("You can close this page: it goes on.")


def _over(now: Evaluation) -> None:
    if now.status != Status.DONE:
        st.error(f"**It could not be judged**\n\n{plain(view.failure(now))}", icon=":material/error:")
        return
    result = view.result(now)
    st.markdown(f"**{plain(result.judged)}**")
    with st.container(border=True):
        st.metric("Accuracy", result.accuracy, help="Of the images that were judged.")
        if result.interval:
            st.caption(f"95 % interval: {result.interval}")
    if result.statement:
        st.markdown(plain(result.statement))
    if now.left_out:
        st.markdown("**Left out, and why**")
        notes.refused(now.left_out, f"{now.model}-{now.dataset}-left-out", "left-out")
