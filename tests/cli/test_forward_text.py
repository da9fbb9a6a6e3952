"""What ``dcm forward`` says while it runs."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

from dcm.cli._forward_text import live_text
from dcm.spool import Counts, Snapshot, Tally

if TYPE_CHECKING:
    from dcm.spool._fleet import Lane


def shown(**troubles: str) -> str:
    """The line, with destinations and what is the matter with them."""
    lanes = [SimpleNamespace(way=SimpleNamespace(sink=name), trouble=trouble) for name, trouble in troubles.items()]
    return live_text(Snapshot(Tally(received=2), Counts(), Counts(), cast("list[Lane]", lanes), 1))


def test_each_destination_that_cannot_be_used_is_on_the_line() -> None:
    assert shown(good="") == "2 received, 0 delivered"
    assert shown(good="", bad="refused") == "2 received, 0 delivered | bad: refused"


def test_how_many_comes_first_where_a_terminal_may_not_show_all() -> None:
    line = shown(bad="refused", good="", worse="worse is gone")
    assert line == "2 received, 0 delivered, 2 destinations not available | bad: refused | worse is gone"
