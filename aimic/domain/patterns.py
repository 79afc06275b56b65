"""Regular expressions from people, refused before they could hang the import.

Python's matcher backtracks, so a few patterns take exponential time on some names, and it can't be stopped
from outside. A pattern is therefore judged by its parse tree: no repeat inside a repeat, no references or
look-arounds, and at most two repeats that could end in more than one place. What is left takes, on a path of
`MAX_PATH` characters, at most about n³/6 steps: a fraction of a second for the worst a person could write.
"""

import re
from collections.abc import Iterator
from importlib import import_module
from typing import Any

from aimic.errors import InvalidInputError

MAX_PATTERN = 300
MAX_PATH = 512
MAX_LOOSE_REPEATS = 2

# The standard library's own parser has no public name; its tree has been the same since Python 3.7.
_parser: Any = import_module("re._parser")
_REPEATS = {"MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"}
_PLAIN = {"LITERAL", "NOT_LITERAL", "ANY", "IN", "AT"}
# Characters by which overlaps are judged: ASCII and a few letters beyond it stand for the rest.
_ALPHABET = frozenset([*map(chr, range(128)), "é", "ß", "Ж", "中", "\u00b2"])


def compile_pattern(text: str, what: str) -> re.Pattern[str]:
    """Compile `text`; InvalidInputError says what is wrong with it, naming it `what`."""
    if len(text) > MAX_PATTERN:
        raise InvalidInputError(f"The {what} is longer than {MAX_PATTERN} characters; please shorten it.")
    try:
        pattern = re.compile(text)
        tree = _parser.parse(text)
    except (re.error, RecursionError, OverflowError) as error:
        raise InvalidInputError(f"The {what} {text!r} is not a valid regular expression: {error}.") from error
    if _loose(list(_flat(tree, text, what)), bool(pattern.flags & re.IGNORECASE)) > MAX_LOOSE_REPEATS:
        raise InvalidInputError(
            f"The {what} {text!r} could take very long on some names, because more than {MAX_LOOSE_REPEATS} of "
            "its repeats could end in several places. Say where each one ends: [^_]+_ rather than .*_"
        )
    return pattern


def _flat(tree: Any, text: str, what: str) -> Iterator[tuple[str, Any]]:
    """The items in order, groups opened; refuses what can't be judged."""
    for op, argument in tree:
        name = str(op)
        if name == "SUBPATTERN":
            yield from _flat(argument[3], text, what)
        elif name == "BRANCH":
            # Alternatives count one after the other, which can only overstate the work.
            yield "BRANCH", None
            for branch in argument[1]:
                yield from _flat(branch, text, what)
            yield "BRANCH", None
        elif name in _REPEATS:
            yield name, (argument[0], argument[1], _body(argument[2], text, what))
        elif name in _PLAIN:
            yield name, argument
        else:
            raise InvalidInputError(
                f"The {what} {text!r} uses references or look-around, which are not taken here. "
                "Plain characters, [classes], groups and repeats are enough to name a part of a path."
            )


def _body(tree: Any, text: str, what: str) -> tuple[str, Any]:
    items = list(_flat(tree, text, what))
    if any(name in _REPEATS or name == "BRANCH" for name, _ in items):
        raise InvalidInputError(
            f"The {what} {text!r} repeats something that itself repeats or has alternatives, which could take "
            "for ever on some names. Write each part once, with one repeat: [^/]+/[^/]+ rather than ([^/]+/?)+"
        )
    return items[0] if items else ("AT", None)


def _loose(items: list[tuple[str, Any]], ignore_case: bool) -> int:
    """How many repeats could end in more than one place."""
    loose = 0
    for position, (name, argument) in enumerate(items):
        if name in _REPEATS and argument[0] != argument[1] and int(argument[1]) > 1:
            inside = _characters(argument[2], ignore_case)
            following = items[position + 1] if position + 1 < len(items) else None
            # The last repeat takes all it can and never gives back: nothing after it can fail.
            loose += following is not None and not _ends(inside, following, ignore_case)
    return loose


def _ends(inside: frozenset[str], following: tuple[str, Any], ignore_case: bool) -> bool:
    name, argument = following
    if name in {"AT", "BRANCH"}:
        return False
    if name in _REPEATS:
        return argument[0] > 0 and inside.isdisjoint(_characters(argument[2], ignore_case))
    return inside.isdisjoint(_characters(following, ignore_case))


def _characters(item: tuple[str, Any], ignore_case: bool) -> frozenset[str]:
    """The characters of the alphabet that one item matches."""
    name, argument = item
    if name == "LITERAL":
        found = frozenset([chr(argument)])
    elif name == "NOT_LITERAL":
        found = _ALPHABET - {chr(argument)}
    elif name == "IN":
        found = _class(argument)
    else:
        return _ALPHABET
    return found | frozenset(c.swapcase() for c in found) if ignore_case else found


def _class(parts: Any) -> frozenset[str]:
    found: set[str] = set()
    negate = False
    for op, argument in parts:
        name = str(op)
        if name == "NEGATE":
            negate = True
        elif name == "LITERAL":
            found.add(chr(argument))
        elif name == "RANGE":
            found.update(c for c in _ALPHABET if argument[0] <= ord(c) <= argument[1])
        else:
            found.update(_category(str(argument)))
    return _ALPHABET - found if negate else frozenset(found)


def _category(name: str) -> frozenset[str]:
    kind = name.rsplit("_", 1)[-1]
    test = {"DIGIT": r"\d", "SPACE": r"\s", "WORD": r"\w"}.get(kind, r"[\s\S]")
    found = frozenset(c for c in _ALPHABET if re.fullmatch(test, c))
    return _ALPHABET - found if "_NOT_" in name else found
