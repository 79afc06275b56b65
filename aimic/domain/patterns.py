"""Regular expressions from people, refused before they could hang the import.

Python's matcher backtracks, so a few patterns take exponential time on some names, and it can't be stopped
from outside. A pattern is therefore judged by its parse tree: no repeat inside a repeat, no references or
look-arounds, and few repeats that could end in more than one place: the places where the match can start, times
the places where each such repeat can end, times the longest of the other repeats, stay below `MAX_WORK`, which
is a fraction of a second on the worst path of `MAX_PATH` characters.
"""

import re
from collections.abc import Iterator
from importlib import import_module
from itertools import pairwise
from typing import Any

from aimic.errors import InvalidInputError

MAX_PATTERN = 300
MAX_PATH = 300
MAX_WORK = 10**8

# The standard library's own parser has no public name; its tree has been the same since Python 3.7.
_parser: Any = import_module("re._parser")
_REPEATS = {"MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"}
_PLAIN = {"LITERAL", "NOT_LITERAL", "ANY", "IN", "AT"}
_CATEGORIES = {"DIGIT": r"\d", "SPACE": r"\s", "WORD": r"\w"}
_STARTS = {"AT_BEGINNING", "AT_BEGINNING_STRING"}
Item = tuple[str, Any]


def compile_pattern(text: str, what: str) -> re.Pattern[str]:
    """Compile `text`; InvalidInputError says what is wrong with it, naming it `what`."""
    if len(text) > MAX_PATTERN:
        raise InvalidInputError(f"The {what} is longer than {MAX_PATTERN} characters; please shorten it.")
    try:
        pattern = re.compile(text)
        tree = _parser.parse(text)
    except (re.error, RecursionError, OverflowError) as error:
        raise InvalidInputError(f"The {what} {text!r} is not a valid regular expression: {error}.") from error
    judge = _Judge(f"The {what} {text!r}", bool(pattern.flags & re.IGNORECASE))
    if judge.work(list(judge.flat(tree))) > MAX_WORK:
        raise InvalidInputError(
            f"The {what} {text!r} could take very long on some names, because too many of its repeats could end in "
            "several places. Say where each one ends: [^_]+_ rather than .*_"
        )
    return pattern


class _Judge:
    """Judges one pattern. Overlaps are judged by an alphabet: Latin-1, and every character that it names."""

    def __init__(self, subject: str, ignore_case: bool) -> None:
        self._subject = subject
        self._ignore_case = ignore_case
        self._alphabet = {*map(chr, range(256)), "Ж", "中"}

    def flat(self, tree: Any) -> Iterator[Item]:
        """The items in order, groups opened; refuses what can't be judged."""
        for op, argument in tree:
            name = str(op)
            if name == "SUBPATTERN" and not argument[1] and not argument[2]:
                yield from self.flat(argument[3])
            elif name == "BRANCH":
                # Alternatives count one after the other, which can only overstate the work.
                yield "BRANCH", None
                for branch in argument[1]:
                    yield from self.flat(branch)
                yield "BRANCH", None
            elif name in _REPEATS:
                yield name, (argument[0], argument[1], self._body(argument[2]))
            elif name in _PLAIN:
                self._note(name, argument)
                yield name, argument
            else:
                raise InvalidInputError(
                    f"{self._subject} uses references, look-around or flags within, which are not taken here. "
                    "Plain characters, [classes], groups and repeats are enough to name a part of a path."
                )

    def work(self, items: list[Item]) -> int:
        """About how many steps the worst path takes."""
        starts = 1 if items and items[0][0] == "AT" and str(items[0][1]) in _STARTS else MAX_PATH
        choices, longest = 1, 1
        for (name, argument), following in pairwise([*items, ("END", None)]):
            if name not in _REPEATS or following[0] == "END":
                # The last repeat takes all it can and never gives back, since nothing after it can fail.
                continue
            lengths = min(int(argument[1]) - int(argument[0]) + 1, MAX_PATH)
            if self._ends(self._characters(argument[2]), following):
                longest = max(longest, lengths)
            else:
                choices *= lengths
        return starts * choices * longest

    def _body(self, tree: Any) -> Item:
        items = list(self.flat(tree))
        if any(name in _REPEATS or name == "BRANCH" for name, _ in items):
            raise InvalidInputError(
                f"{self._subject} repeats something that itself repeats or has alternatives, which could take for "
                "ever on some names. Write each part once, with one repeat: [^/]+/[^/]+ rather than ([^/]+/?)+"
            )
        # Of several items only the first decides where a repeat could go on.
        return items[0] if items else ("AT", None)

    def _ends(self, inside: set[str], following: Item) -> bool:
        name, argument = following
        if name in {"AT", "BRANCH"}:
            return False
        if name in _REPEATS:
            return argument[0] > 0 and inside.isdisjoint(self._characters(argument[2]))
        return inside.isdisjoint(self._characters(following))

    def _note(self, name: str, argument: Any) -> None:
        if name in {"LITERAL", "NOT_LITERAL"}:
            self._alphabet.add(chr(argument))
        elif name == "IN":
            codes = [code for op, value in argument if str(op) in {"LITERAL", "RANGE"} for code in _codes(value)]
            self._alphabet.update(map(chr, codes))

    def _characters(self, item: Item) -> set[str]:
        """The characters of the alphabet that one item matches."""
        name, argument = item
        if name == "LITERAL":
            found = {chr(argument)}
        elif name == "NOT_LITERAL":
            found = self._alphabet - {chr(argument)}
        elif name == "IN":
            found = self._class(argument)
        else:
            return self._alphabet
        return found | {c.swapcase() for c in found} if self._ignore_case else found

    def _class(self, parts: Any) -> set[str]:
        found: set[str] = set()
        negate = False
        for op, argument in parts:
            name = str(op)
            if name == "NEGATE":
                negate = True
            elif name == "CATEGORY":
                found |= self._category(str(argument))
            else:
                codes = _codes(argument)
                found |= {c for c in self._alphabet if codes[0] <= ord(c) <= codes[-1]}
        return self._alphabet - found if negate else found

    def _category(self, name: str) -> set[str]:
        test = _CATEGORIES.get(name.rsplit("_", 1)[-1], r"[\s\S]")
        found = {c for c in self._alphabet if re.fullmatch(test, c)}
        return self._alphabet - found if "_NOT_" in name else found


def _codes(value: Any) -> tuple[int, ...]:
    return value if isinstance(value, tuple) else (value,)
