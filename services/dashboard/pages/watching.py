"""One training, while it runs and afterwards."""

import streamlit as st

from aimic.client import Client
from aimic.domain.job import Job, Progress, ProgressKind, Status
from services.dashboard.components import links, notes
from services.dashboard.components.errors import plainly
from services.dashboard.views import charts, words
from services.dashboard.views import jobs as view
from services.dashboard.views.markdown import plain

EVERY_S = 2


def job(server: Client, job_id: str) -> None:
    """Everything about one training."""
    now = server.jobs.show(job_id)
    st.subheader(plain(view.title(now)))
    if now.status.over:
        _over(now)
        _curves(server, now)
        _steps(now, open_=False)
    else:
        _live(server, job_id)
        _cancel(server, now)
    if now.findings:
        with st.expander("What was known before it started", icon=":material/info:"):
            notes.findings(now.findings)


@st.fragment(run_every=EVERY_S)
def _live(server: Client, job_id: str) -> None:
    with plainly("live"):
        now = server.jobs.show(job_id)
        if now.status.over:
            st.rerun()
        st.progress(view.job_share(now), view.job_line(now))
        _curves(server, now)
        _steps(now, open_=True)
        st.caption("You can close this page: the training goes on.")


def _events(server: Client, job_id: str) -> list[Progress]:
    """All epochs and remarks so far; only new events are fetched, and those of batches are not kept."""
    after, events = st.session_state.get(f"events-{job_id}", (0, []))
    for event in server.jobs.progress(job_id, after):
        after = event.sequence
        if event.kind is not ProgressKind.BATCH:
            events.append(event)
    st.session_state[f"events-{job_id}"] = (after, events)
    return list(events)


def _curves(server: Client, now: Job) -> None:
    events = _events(server, now.id)
    for text in view.warnings(events):
        st.warning(plain(text), icon=":material/warning:")
    rows = view.curves(now, events)
    if not rows.loss:
        if not now.status.over:
            st.caption(view.no_curves_yet(now))
        return
    left, right = st.columns(2, gap="large")
    with left:
        st.markdown("**Accuracy**")
        st.altair_chart(charts.curves(rows.accuracy, "accuracy", share=True), alt="Accuracy by epoch")
    with right:
        st.markdown("**Loss** (lower is better)")
        st.altair_chart(charts.curves(rows.loss, "loss", share=False), alt="Loss by epoch")
    st.caption(view.curve_words(now))


def _steps(now: Job, open_: bool) -> None:
    with st.expander("Steps", expanded=open_):
        lines = view.task_lines(now)
        for line in lines:
            if line.begun:
                sign = ":material/error: " if line.failed else ""
                st.progress(line.share, f"{sign}{line.title}: {plain(line.text)}")
        waiting = [line.title for line in lines if not line.begun]
        if waiting:
            st.caption(f"Still to come: {words.listed(waiting)}.")


def _over(now: Job) -> None:
    if now.status is Status.DONE:
        st.success("**Done.** The model is judged and ready.", icon=":material/check_circle:")
        for model in now.models:
            name, _, version = model.partition(":")
            links.to("Models", f"See {plain(name)}, version {version}", f"see-{model}", model=model)
    elif now.status is Status.FAILED:
        st.error(f"**This training stopped**\n\n{plain(view.failure(now))}", icon=":material/error:")
    else:
        st.info("**Cancelled.** Your images and other models are untouched.", icon=":material/cancel:")


def _cancel(server: Client, now: Job) -> None:
    with st.popover("Cancel this training", icon=":material/stop_circle:"):
        st.markdown("The rounds that are not finished are lost. Your images are kept.")
        if st.button("Yes, cancel it", type="primary", key="cancel"):
            with plainly("cancel"):
                server.jobs.cancel(now.id)
                st.rerun()
