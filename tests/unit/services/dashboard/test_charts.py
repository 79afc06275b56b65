"""Every plot is one that Vega-Lite's schema allows, and shows the data that it was given."""

import json
from typing import Any

import altair as alt
import pytest

from services.dashboard.views import charts

COUNTS = [{"label": "a", "images": 3}, {"label": "b", "images": 30}]
CURVE = [{"series": "Round 1", "part": "learning", "epoch": 1, "value": 0.5}]
CELLS = [{"truth": t, "answer": a, "count": 1, "share": 0.5, "text": "1\n50 %"} for t in ("a", "b") for a in ("a", "b")]
BARS = [{"class": "b", "probability": 0.7}, {"class": "a", "probability": 0.3}]


@pytest.mark.parametrize(
    ("chart", "rows"),
    [
        (charts.class_counts(COUNTS), COUNTS),
        (charts.curves(CURVE, "accuracy", share=True), CURVE),
        (charts.curves(CURVE, "loss", share=False), CURVE),
        (charts.confusion(CELLS), CELLS),
        (charts.probabilities(BARS), BARS),
    ],
)
def test_charts(chart: Any, rows: list[dict[str, Any]]) -> None:
    specification = chart.to_dict()
    assert json.dumps(rows[0])[1:-1] in json.dumps(specification)
    assert isinstance(chart, alt.TopLevelMixin)


def test_the_matrix_keeps_the_class_order() -> None:
    axes = charts.confusion(CELLS).to_dict()["layer"][0]["encoding"]
    assert axes["x"]["sort"] == axes["y"]["sort"] == ["a", "b"]
