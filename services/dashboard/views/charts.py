"""The plots, as Altair charts: data in, chart out."""

from collections.abc import Sequence
from typing import Any

import altair as alt

Row = dict[str, Any]

TEAL = "#0B6B6B"
INK = "#16262B"
# Okabe and Ito's colours (2008), told apart by people with colour blindness; yellow left out for its contrast.
SERIES = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#6A3D9A", "#000000"]


def _data(rows: Sequence[Row]) -> Any:
    return alt.Data(values=list(rows))  # type: ignore[no-untyped-call]


def _legible(chart: Any) -> Any:
    """Axis texts as dark as all others; the usual grey is too faint to read when tired."""
    return chart.configure_axis(labelColor=INK, titleColor=INK, labelLimit=170)


def class_counts(rows: Sequence[Row]) -> Any:
    """Images per class, in class order, with the numbers written."""
    base = alt.Chart(_data(rows)).encode(
        y=alt.Y("label:N", sort=None, title=None, axis=alt.Axis(labelLimit=220, ticks=False, domain=False)),
        x=alt.X("images:Q", title="images", axis=alt.Axis(tickMinStep=1, grid=False, tickCount=4)),
        tooltip=[alt.Tooltip("label:N", title="class"), alt.Tooltip("images:Q")],
    )
    bars = base.mark_bar(color=TEAL, cornerRadiusEnd=3)
    numbers = base.mark_text(align="left", dx=5, color=INK).encode(text=alt.Text("images:Q", format=","))
    return _legible((bars + numbers).properties(height=alt.Step(28)))


def curves(rows: Sequence[Row], title: str, share: bool) -> Any:
    """Learning curves: one colour a round, dashed for the images learned from, solid for those checked on."""
    axis = alt.Axis(format=".0%", tickCount=5) if share else alt.Axis(tickCount=5)
    chart = (
        alt.Chart(_data(rows))
        .mark_line(point=alt.OverlayMarkDef(size=28), strokeWidth=2)
        .encode(
            x=alt.X("epoch:Q", title="epoch", axis=alt.Axis(tickMinStep=1, format="d", grid=False)),
            y=alt.Y("value:Q", title=title, axis=axis, scale=alt.Scale(zero=False)),
            color=alt.Color(
                "series:N", title=None, sort=None, legend=alt.Legend(columns=5), scale=alt.Scale(range=SERIES)
            ),
            strokeDash=alt.StrokeDash(
                "part:N", legend=None, scale=alt.Scale(domain=["checking", "learning"], range=[[1, 0], [5, 4]])
            ),
            tooltip=[
                alt.Tooltip("series:N", title="round"),
                alt.Tooltip("part:N", title="part"),
                alt.Tooltip("epoch:Q", title="epoch"),
                alt.Tooltip("value:Q", title=title, format=".1%" if share else ".3f"),
            ],
        )
        .properties(height=280)
    )
    return _legible(chart.configure_legend(orient="bottom", symbolType="stroke", labelColor=INK))


def confusion(cells: Sequence[Row]) -> Any:
    """The confusion matrix: darker is a larger part of the true class; count and share are written."""
    labels = list(dict.fromkeys(cell["truth"] for cell in cells))
    step = 88 if len(labels) <= 5 else 64 if len(labels) <= 8 else 48
    base = alt.Chart(_data(cells)).encode(
        x=alt.X("answer:N", sort=labels, title="The model's answer", axis=alt.Axis(labelAngle=-35, orient="top")),
        y=alt.Y("truth:N", sort=labels, title="The truth"),
        tooltip=[
            alt.Tooltip("truth:N"),
            alt.Tooltip("answer:N"),
            alt.Tooltip("count:Q", title="images"),
            alt.Tooltip("share:Q", title="of the true class", format=".1%"),
        ],
    )
    squares = base.mark_rect(stroke="#FFFFFF", strokeWidth=2, cornerRadius=4).encode(
        color=alt.Color("share:Q", legend=None, scale=alt.Scale(domain=[0, 1], range=["#F1F5F5", TEAL]))
    )
    numbers = base.mark_text(fontSize=12, lineBreak="\n", dy=-6, lineHeight=14).encode(
        text="text:N",
        # From here on white has the better contrast.
        color=alt.condition("datum.share > 0.77", alt.value("#FFFFFF"), alt.value(INK)),
    )
    return _legible((squares + numbers).properties(width=alt.Step(step), height=alt.Step(step)))


def probabilities(rows: Sequence[Row]) -> Any:
    """Bars of probability, the most probable on top."""
    base = alt.Chart(_data(rows)).encode(
        y=alt.Y("class:N", sort=None, title=None, axis=alt.Axis(labelLimit=160, ticks=False, domain=False)),
        x=alt.X("probability:Q", title=None, axis=None, scale=alt.Scale(domain=[0, 1.15])),
    )
    bars = base.mark_bar(cornerRadiusEnd=3).encode(
        color=alt.condition(alt.datum["class"] == rows[0]["class"], alt.value(TEAL), alt.value("#A9BFBF"))
    )
    numbers = base.mark_text(align="left", dx=4, color=INK).encode(text=alt.Text("probability:Q", format=".1%"))
    return _legible((bars + numbers).properties(height=alt.Step(24)))
