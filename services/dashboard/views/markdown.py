"""Names that come from outside, in texts that Streamlit reads as Markdown."""

import re

# Whatever begins code, emphasis, a link, a formula, a tag, an entity, a table or a struck-out text.
_SIGNS = re.compile(r"([\\`*_\[\]$<>&~|#])")
# Only at the start of a text do these begin a list, a line or a heading.
_FIRST = re.compile(r"^([-+=]|\d+(?=[.)](?:\s|$)))")
# Streamlit puts icons and emoji for `:name:`, and makes links of addresses, after Markdown's own escapes are undone.
_LATE = re.compile(r"([:@]|www)(?=\S)", re.IGNORECASE)
_WORD_JOINER = "\u2060"
"""Has no width and no meaning; it only parts the signs."""


def plain(text: str) -> str:
    """`text` so that Markdown shows it as it is, on one line, whatever signs are in it."""
    line = " ".join(text.split())
    line = _FIRST.sub(_first, _SIGNS.sub(r"\\\1", line))
    return _LATE.sub(rf"\1{_WORD_JOINER}", line)


def _first(found: re.Match[str]) -> str:
    sign = found.group()
    # Before a number's dot or bracket, so that it is no list.
    return f"{sign}{_WORD_JOINER}" if sign.isdigit() else f"\\{sign}"
