"""The query of a repository, which all of its data matches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dcm.conf._selectors import plain
from dcm.errors import ConfigError, UsageError
from dcm.keywords import resolve_keyword
from dcm.text import safe_text

if TYPE_CHECKING:
    from pydicom import Dataset

    from dcm.attrs import Value

__all__ = ["base_query"]

_QUERY_RETRIEVE_LEVEL = 0x00080052


def base_query(where: str, raw: Mapping[str, Any]) -> Dataset | None:
    """What is asked for in addition to every query; None where that is nothing.

    Parameters
    ----------
    where : str
        Where it stands in the file, for messages.
    raw : mapping
        Keyword or tag to what it must be: text as behind ``dcm query``, a number, or a list of them.

    Raises
    ------
    ConfigError
        There is no such element, it cannot be queried, or not for that.
    """
    if not raw:
        return None
    from dcm.attrs import Attributes
    from dcm.query._key_values import check_value

    items: dict[int, tuple[int, str, Value]] = {}
    for key, value in raw.items():
        try:
            tag, vr = resolve_keyword(key)
            if tag == _QUERY_RETRIEVE_LEVEL:
                raise UsageError(f"{key} is not queried for", hint="the repository has a level")
            if tag >> 16 < 0x0008 or tag >> 16 & 1 or not vr:
                raise UsageError(f"{safe_text(key, 100)} cannot be queried")
            if tag in items:
                raise UsageError(f"{safe_text(key, 100)} is there twice")
            vr = "US" if vr == "US or SS" else vr
            checked = check_value(key, vr, _text(key, plain(value)))
        except UsageError as exc:
            raise ConfigError(f"{where}: {exc.message}", hint=exc.hint) from exc
        values: tuple[Value, ...] = (checked,) if isinstance(checked, str) else tuple(checked)
        items[tag] = tag, vr, values if len(values) > 1 else values[0]
    return Attributes.from_items(items.values()).to_dataset()


def _text(key: str, value: object) -> str:
    members = value if isinstance(value, list) else [value]
    if not members or not all(isinstance(one, (str, int, float)) and not isinstance(one, bool) for one in members):
        raise UsageError(f"{safe_text(key, 100)} must be text, a number or a list of them")
    return "\\".join(map(str, members))
