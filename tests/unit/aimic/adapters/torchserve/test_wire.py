"""Connections that are cut: only those of the calls nobody answers, and none of them serves another call."""

import threading
from pathlib import Path

import pytest

from aimic.adapters.torchserve import wire as wires
from aimic.adapters.torchserve.wire import Wire


def test_a_connection_that_was_cut_serves_no_other_call() -> None:
    """Its call may have had its whole answer a moment before."""
    wire = Wire(Path("nowhere"))
    one, other = wire._take("/one"), wire._take("/other")
    wire.abandon("/one")
    wire._give_back(one, kept=True)
    wire._give_back(other, kept=True)
    assert wire._take("/next") is other
    assert wire._take("/next") is not one


def test_a_call_that_just_began_is_not_cut_for_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection comes back and is taken again while its former call is being abandoned."""
    wire = Wire(Path("nowhere"))
    first, taken = wire._take("/one"), []
    cut = wires._Connection.cut

    def again() -> None:
        wire._give_back(first, kept=True)
        taken.append(wire._take("/other"))

    turn = threading.Thread(target=again)

    def cut_late(connection: wires._Connection) -> None:
        turn.start()
        turn.join(0.2)  # what may happen before the cut happens here; it needn't
        cut(connection)

    monkeypatch.setattr(wires._Connection, "cut", cut_late)
    wire.abandon("/one")
    turn.join(60)
    assert taken and taken[0] is not first
