"""What ``dcm forward`` says while it runs."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest

from dcm.cli._forward_text import live_text, start_lines, stop_line, summary_lines
from dcm.filt import make_edit_filter
from dcm.net import DcmNode
from dcm.route import Way
from dcm.spool import Ack, Counts, Snapshot, Spool, Tally
from dcm.store.local_dir import LocalDir

if TYPE_CHECKING:
    from dcm.spool._fleet import Lane


def shown(**troubles: str) -> str:
    """The line, with destinations and what is the matter with them."""
    lanes = [SimpleNamespace(way=SimpleNamespace(sink=name), trouble=trouble) for name, trouble in troubles.items()]
    return live_text(Snapshot(Tally(received=2), Counts(), Counts(), cast("list[Lane]", lanes), 1))


def test_a_destination_is_called_what_it_is_called_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ways = [Way(LocalDir("plain")), Way(LocalDir("changed"), make_edit_filter({"PatientID": "A"}), route="rules")]
    node = DcmNode("127.0.0.1", "DCM", 104)
    lines = start_lines(node, 104, Spool(tmp_path / "spool"), ways, Ack.DURABLE, Counts())
    assert lines[2:] == [f"To: {tmp_path}/plain", f"To: {tmp_path}/changed through edit (route rules)"]


def test_each_destination_that_cannot_be_used_is_on_the_line() -> None:
    assert shown(good="") == "2 received, 0 delivered"
    assert shown(good="", bad="refused") == "2 received, 0 delivered | bad: refused"


def test_how_many_comes_first_where_a_terminal_may_not_show_all() -> None:
    line = shown(bad="refused", good="", worse="worse is gone")
    assert line == "2 received, 0 delivered, 2 destinations not available | bad: refused | worse is gone"


@pytest.mark.parametrize(("late", "words"), [(1, "it in time; it is kept."), (40, "them in time; they are kept.")])
def test_those_that_came_late_are_instances_and_no_senders(late: int, words: str) -> None:
    (line,) = summary_lines(Tally(received=40, new=40, late=late), Counts(), Counts())
    assert line == f"Received 40 instances. {late} answered as failed, as not every destination had {words}"


def test_how_long_it_may_take_to_stop() -> None:
    assert stop_line(2.5) == "Stopping: what is under way has up to 2.5 s; Ctrl-C or SIGTERM again ends it at once."
    assert stop_line(0) == "Stopping: Ctrl-C or SIGTERM again ends it at once."
