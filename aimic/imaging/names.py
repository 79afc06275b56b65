"""Names of files inside folders and archives: which are ignored, which are refused, how they are shown.

Standard library only, since the client shares these rules with the server.
"""

import unicodedata

MAX_NAME = 1024
_IGNORED_PARTS = {"__macosx", "$recycle.bin", "system volume information", "@eadir"}
_IGNORED_FILES = {"thumbs.db", "ehthumbs.db", "desktop.ini"}


def is_ignored(name: str) -> bool:
    """Whether a path is what an operating system leaves behind: hidden files, `__MACOSX`, `Thumbs.db`."""
    parts = [part for part in name.split("/") if part not in ("", ".", "..")]
    if not parts:
        return True
    hidden = any(part.startswith(".") or part.lower() in _IGNORED_PARTS for part in parts)
    return hidden or parts[-1].lower() in _IGNORED_FILES


def safe_name(raw: str) -> str:
    """A path in one spelling that is safe to show: NFC, no control or direction signs, no `./` in front.

    Bytes that are no UTF-8 (surrogate escapes) are read as Windows-1252, where such names come from.
    """
    text = _without_surrogates(raw)
    # Two spellings of ü would be two classes, and a right-to-left mark can make exe look like gpj.
    text = unicodedata.normalize("NFC", text)
    text = "".join("\N{REPLACEMENT CHARACTER}" if _is_unsafe(letter) else letter for letter in text)
    return "/".join(part for part in text.split("/") if part not in ("", "."))


def _without_surrogates(raw: str) -> str:
    try:
        raw.encode("utf-8")
    except UnicodeEncodeError:
        data = raw.encode("utf-8", "surrogateescape") if _is_escaped(raw) else raw.encode("utf-8", "replace")
        return data.decode("cp1252", "replace")
    return raw


def _is_escaped(raw: str) -> bool:
    return all(not "\ud800" <= letter <= "\udfff" or "\udc80" <= letter <= "\udcff" for letter in raw)


def _is_unsafe(letter: str) -> bool:
    return unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Zl", "Zp")


def why_unsafe(raw: str) -> str | None:
    """Why a path inside an archive is not followed, in plain words; None when it stays below the root."""
    if "\0" in raw:
        return "The name has a zero byte in it."
    if raw.startswith(("/", "\\")) or raw[1:3] in (":/", ":\\"):
        return "The name is an absolute path; names must stay inside the archive."
    if ".." in raw.replace("\\", "/").split("/"):
        return "The name leads out of the archive (`..`)."
    if len(raw) > MAX_NAME:
        return f"The name has more than {MAX_NAME:,} characters."
    return None
