"""Names made of hostile values, in numbers: a thousand each time, a million where somebody asks for it."""

from __future__ import annotations

import os
from pathlib import PurePosixPath
from urllib.parse import unquote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dcm.sort import FORMATS, template_of
from dcm.template import PathTemplate

PIECES = st.sampled_from(
    [
        "..",
        ".",
        "/",
        "\\",
        "\0",
        "~",
        "-",
        "%",
        "%2F",
        "%~",
        "CON",
        "NUL.txt",
        " ",
        "\n",
        "\x1b[2J",
        "\u202e",
        "unknown",
    ]
)
BAD = [*map(chr, range(32)), *"/\\\x7f\u202e"]
VALUES = st.text(st.characters(codec="utf-8"), max_size=12) | st.lists(PIECES, max_size=6).map("".join)
LONG = st.builds(lambda value, n: value * n, VALUES, st.integers(1, 60))
TEMPLATES = [PathTemplate("{PatientID}/{SOPInstanceUID}"), *map(template_of, FORMATS)]


def check(values: list[str]) -> None:
    """Every value gives a path of its own, which stays below the root and says what the value was."""
    assert len(set(values)) == len(values)
    by_path = {}
    for value in values:
        parts = PathTemplate("{PatientID}/{SOPInstanceUID}").render(lambda tag, value=value: value)  # type: ignore[misc]
        by_path[parts] = value
        assert len(parts) == 2
        path = PurePosixPath(*parts)
        assert os.path.normpath("/root" / path) == f"/root/{parts[0]}/{parts[1]}"
        assert not {"", ".", ".."} & {*parts}
        assert all(len(part.encode()) <= 200 and not set(part) & {*BAD} for part in parts)
        if value and "%~" not in parts[0]:
            assert unquote(parts[0], errors="surrogatepass") == value
    assert len(by_path) == len(values)


@settings(max_examples=50)
@given(values=st.lists(VALUES | LONG, min_size=20, max_size=20, unique=True))
def test_a_thousand_names_are_injective(values: list[str]) -> None:
    check(values)


@pytest.mark.slow
@pytest.mark.timeout(7200)
@settings(max_examples=int(os.environ.get("DCM_NAMES", "1000000")) // 100, suppress_health_check=list(HealthCheck))
@given(values=st.lists(VALUES | LONG, min_size=100, max_size=100, unique=True))
def test_a_million_names_are_injective(values: list[str]) -> None:
    check(values)


@pytest.mark.parametrize("template", TEMPLATES, ids=str)
@settings(max_examples=50)
@given(values=st.lists(VALUES, min_size=12, max_size=12))
def test_every_format_stays_in_the_root(template: PathTemplate, values: list[str]) -> None:
    tags = sorted(template.tags)
    parts = template.render(lambda tag: values[tags.index(tag) % len(values)])
    assert os.path.normpath("/root/" + "/".join(parts)) == "/root/" + "/".join(parts)
