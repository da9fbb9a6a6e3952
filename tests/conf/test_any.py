"""Whatever stands in the file is read, or is a ConfigError: nothing else ever comes out."""

from __future__ import annotations

import contextlib
import datetime
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from dcm.conf import DcmConfig
from dcm.conf._show import _value
from dcm.errors import ConfigError

NAMES = (
    "a",
    "b",
    "pacs",
    "archive",
    "StudyDate",
    "Modality == CT",
    "./x:{PatientID}",
    "./y",
    "proxy",
    "link",
    "series",
)
KEYS = (
    *("attr", "op", "rvalue", "invert", "all_of", "any_of", "none_of", "dests", "methods", "filt", "routing_map"),
    *("default_dests", "exclude", "route_level", "stop_on_first", "dest_methods", "reject", "edit", "delete"),
    *("remote", "local", "base_query", "level", "chunk_size", "selector", "PatientID", "add_uid_entropy", "uid_prefix"),
)
texts = st.one_of(st.sampled_from((*NAMES, "==", "<", "~=", "in", "(", "")), st.text(max_size=5))
scalars = st.one_of(
    texts, texts, texts, st.booleans(), st.integers(-2, 9), st.floats(), st.just(datetime.date(2020, 1, 1))
)
values: st.SearchStrategy[Any] = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.one_of(st.sampled_from(KEYS), texts), inner, max_size=4)
    ),
    max_leaves=12,
)
sections = st.fixed_dictionaries(
    {},
    optional={
        "remote_repos": st.dictionaries(st.sampled_from(("a", "r")), values, max_size=2),
        "selectors": st.dictionaries(st.sampled_from(("a", "b")), values, max_size=2),
        "static_routes": st.dictionaries(st.sampled_from(("s", "t")), values, max_size=2),
        "dynamic_routes": st.dictionaries(st.sampled_from(("d", "s")), values, max_size=2),
    },
)
BASE = '[remote_nodes.pacs]\nhost = "h"\n[local_dirs]\narchive = "x"\n'


@given(sections)
def test_anything_is_read_or_a_config_error(tmp_path_factory: Any, raw: dict[str, Any]) -> None:
    path = Path(tmp_path_factory.getbasetemp()) / "any.toml"
    text = BASE
    for section, entries in raw.items():
        text += f"[{section}]\n"
        text += "".join(f"{name} = {_value(entry)}\n" for name, entry in entries.items())
    path.write_text(text, encoding="utf-8", errors="replace")
    with contextlib.suppress(ConfigError):
        conf = DcmConfig(path)
        conf.check()
        conf.shown()
