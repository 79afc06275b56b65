"""The shell around the pages. Streamlit runs this file anew for each change on a page."""

import streamlit as st

from aimic import tracing
from services.dashboard.components.looks import LOGO, STYLE, icon
from services.dashboard.pages import data, models, train

st.set_page_config(page_title="AIMIC", page_icon=icon(), layout="wide")
st.logo(LOGO, size="large")
st.html(STYLE)

PAGES = [
    st.Page(data.show, title="Data", icon=":material/photo_library:", url_path="data", default=True),
    st.Page(train.show, title="Train", icon=":material/model_training:", url_path="train"),
    st.Page(models.show, title="Models", icon=":material/verified:", url_path="models"),
]
st.session_state["pages"] = {page.title: page for page in PAGES}
page = st.navigation(PAGES, position="top")
with tracing.span(f"page {page.url_path or 'data'}", kind="server"):
    page.run()
