"""What ``dcm sort --dry-run`` says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from dcm.text import safe_text

if TYPE_CHECKING:
    from typing import TypeAlias

    from dcm.sort import SortReport

    # The names of directories end with a slash; what a file's name leads to is what there is to say about it.
    _Tree: TypeAlias = "dict[str, _Tree | str]"

__all__ = ["tree_lines"]


def tree_lines(dest: str, report: SortReport) -> Iterator[str]:
    """The tree that would be made: new files only, each with what there is to say about it."""
    from dcm.sort import SortState

    tree: _Tree = {}
    for file in report.found:
        if file.dest and file.state in (SortState.SORTED, SortState.CONFLICT):
            *directories, name = file.dest.split("/")
            place = tree
            for directory in directories:
                below = place.setdefault(f"{directory}/", {})
                assert isinstance(below, dict)
                place = below
            place[name] = file.reason
    yield safe_text(dest)
    yield from _branches(tree, "")


def _branches(tree: _Tree, lead: str) -> Iterator[str]:
    """The lines of what is in a directory; as deep as the template is."""
    for number, (name, below) in enumerate(sorted(tree.items()), 1):
        last = number == len(tree)
        note = f"  ({safe_text(below)})" if isinstance(below, str) and below else ""
        yield f"{lead}{'└── ' if last else '├── '}{safe_text(name.removesuffix('/'))}{note}"
        if isinstance(below, dict):
            yield from _branches(below, lead + ("    " if last else "│   "))
