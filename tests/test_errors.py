"""The tree of errors: as drawn, each with the exit code that is documented."""

from __future__ import annotations

import inspect
import pickle
import re
from collections.abc import Iterator

import pytest

from dcm import errors
from dcm.errors import AssociationRejectedError, DcmError, NetworkError, OperationFailedError

# The codes of the table in the documentation that an error can end with: 0 is none, 130 is an interrupt.
EXIT_CODES = {1, 2, 3, 4, 5}


def walk(root: type[DcmError] = DcmError) -> Iterator[type[DcmError]]:
    yield root
    for child in root.__subclasses__():
        yield from walk(child)


def drawn_tree() -> dict[str, tuple[str | None, int | None]]:
    """Name → (parent, exit code) of the tree in the docstring; a code is drawn where it differs from the parent's."""
    tree: dict[str, tuple[str | None, int | None]] = {}
    path: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        found = re.match(r"^    (?P<indent>[ │├└─]*)(?P<name>\w+Error)\b(?: \((?P<code>\d+)\))?", line)
        if found is None:
            continue
        depth = len(found["indent"]) // 4
        path[depth:] = [found["name"]]
        tree[found["name"]] = (path[depth - 1] if depth else None, int(found["code"]) if found["code"] else None)
    return tree


def test_the_drawing_shows_every_error() -> None:
    actual = {error.__name__ for error in walk() if error.__module__ == errors.__name__}
    assert set(drawn_tree()) == actual


@pytest.mark.parametrize("error", [error for error in walk() if error.__module__ == errors.__name__])
def test_the_drawing_is_true(error: type[DcmError]) -> None:
    parent_name, code = drawn_tree()[error.__name__]
    parent = error.__bases__[0]
    assert parent_name == (None if error is DcmError else parent.__name__)
    inherited = getattr(parent, "exit_code", None)
    assert error.exit_code == (inherited if code is None else code)


@pytest.mark.parametrize("error", list(walk()))
def test_every_error_has_an_exit_code_and_a_docstring(error: type[DcmError]) -> None:
    assert error.exit_code in EXIT_CODES
    assert inspect.getdoc(error)
    assert error.__name__.endswith("Error")


@pytest.mark.parametrize("error", [error for error in walk() if error.__module__ == errors.__name__])
def test_every_error_is_exported(error: type[DcmError]) -> None:
    assert error.__name__ in errors.__all__


@pytest.mark.parametrize("error", list(walk()))
def test_message_and_hint(error: type[DcmError]) -> None:
    assert str(error("it failed")) == "it failed"
    assert str(error("it failed", hint="try again")) == "it failed; try again"
    assert error("it failed", hint="try again").message == "it failed"


@pytest.mark.parametrize("error", list(walk()))
def test_errors_survive_pickling(error: type[DcmError]) -> None:
    """They cross the border of a process with all that they know."""
    original = error("it failed", hint="try again")
    copy = pickle.loads(pickle.dumps(original))
    assert type(copy) is error
    assert str(copy) == str(original)
    assert vars(copy) == vars(original)


def test_network_errors_know_the_peer() -> None:
    assert NetworkError("it failed", peer="host:AE:104").peer == "host:AE:104"
    assert OperationFailedError("it failed", status=0xA700).status == 0xA700


def test_a_transient_rejection_is_known_as_one() -> None:
    assert AssociationRejectedError("it said no", result=2).transient
    assert not AssociationRejectedError("it said no", result=1).transient
