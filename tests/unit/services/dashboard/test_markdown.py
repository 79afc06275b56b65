"""Names are shown as they are, whatever Markdown would make of them."""

import re
from html import unescape

import pytest
from markdown_it import MarkdownIt

from services.dashboard.views.markdown import plain

HOSTILE = [
    "*bold* __strong__ _thin_ ~~gone~~ `code`",
    "[click](https://evil.example) ![x](y) <b>tag</b> &amp; \\*",
    "$x_1$ and $$y$$",
    "# heading",
    "- a list",
    "+1",
    "12. numbered",
    "3) numbered",
    "4.",
    "| a | b |",
    "=====",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_markdown_shows_the_name_itself(name: str) -> None:
    html = MarkdownIt("commonmark", {"linkify": False}).enable(["table", "strikethrough"]).render(plain(name))
    assert re.fullmatch(r"<p>[^<]*</p>\n", html), html
    assert unescape(html[3:-5]).replace("\u2060", "") == name


@pytest.mark.parametrize(
    "name", [":material/home:", ":red[loud]", ":smile:", "a@b.example", "www.evil.example", "http://e.e"]
)
def test_what_streamlit_replaces_later_is_parted(name: str) -> None:
    shown = re.sub(r"\\(.)", r"\1", plain(name))
    assert shown.replace("\u2060", "") == name
    assert not re.search(r"[:@]\w|:/|www\.", shown)


def test_formulas_have_no_bare_dollar() -> None:
    assert plain("$a$") == r"\$a\$"


def test_a_name_stays_on_its_line_and_common_ones_stay_as_they_are() -> None:
    assert plain("one\n\n# two\tthree") == r"one \# two three"
    for name in ("neutrophil", "Images: 1,204 (93.4 %).", "P-12 a+b", "1.5 mm", "93.4 % sure"):
        assert plain(name) == name
