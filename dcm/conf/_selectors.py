"""Selectors in the configuration file: named, written out as a condition or as a table, and combined."""

from __future__ import annotations

import dataclasses
import datetime
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from dcm.conf._schema import check_keys, convert, kind_of, near
from dcm.errors import ConfigError, UsageError
from dcm.text import safe_text

if TYPE_CHECKING:
    from dcm.filt import Selector

__all__ = ["SelectorSettings", "Selectors", "plain"]

_CONDITION: Final = re.compile(r"==|!=|<|>|~=|\sin[\s\[(]")
_GROUPS: Final = ("all_of", "any_of", "none_of")


@dataclasses.dataclass(frozen=True)
class SelectorSettings:
    """The settings of a selector that is written as a table."""

    attr: str | int
    op: str
    rvalue: Any = ""
    invert: bool = False
    reject_missing: bool = False


class Selectors(Mapping[str, "Selector"]):
    """The section ``[selectors]``: what its names and other selectors in the file stand for.

    Structure and names are checked at once; what the conditions say of elements is read when a selector is asked for,
    since that takes the dictionary.

    Parameters
    ----------
    path : Path
        The file, for messages.
    entries : mapping of str to object
        The section as it is in the file.

    Raises
    ------
    ConfigError
        A selector is none, names one that is not there, or refers to itself.
    """

    def __init__(self, path: Path, entries: Mapping[str, object]) -> None:
        self._path = path
        self._entries = dict(entries)
        self._checked: set[str] = set()
        self._built: dict[str, Selector] = {}
        for name in self._entries:
            if _CONDITION.search(name):
                raise ConfigError(
                    f"{self._where(name)} is two things: the name of a selector and a condition", hint="rename it"
                )
            self._check_named(name, ())

    def __getitem__(self, name: str) -> Selector:
        if name not in self._built:
            raw = self._entries[name]
            self._built[name] = self.build(self._where(name), raw)
        return self._built[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def raw(self, name: str) -> Any:
        """What the file says of a selector."""
        return self._entries[name]

    def check(self, where: str, raw: object) -> None:
        """Find out whether something is a selector, as far as that can be seen without the dictionary.

        Parameters
        ----------
        where : str
            Where it stands; what the message begins with.
        raw : object
            A name, a condition or a table.

        Raises
        ------
        ConfigError
            It is none, or a name in it is not there.
        """
        self._check(where, raw, ())

    def build(self, where: str, raw: object) -> Selector:
        """Make a selector of what has been checked.

        Raises
        ------
        ConfigError
            A condition is none, or there is no such element, or no such value for it.
        """
        from dcm.filt import MultiSelector, SingleSelector, parse_selector

        if isinstance(raw, str) and raw in self._entries:
            return self[raw]
        try:
            if isinstance(raw, str):
                return parse_selector(raw)
            if isinstance(raw, dict) and not _is_group(raw):
                single = convert(where, raw, SelectorSettings)
                return SingleSelector(
                    single.attr, single.op, plain(single.rvalue), single.invert, single.reject_missing
                )
        except ConfigError:
            raise
        except UsageError as exc:
            raise ConfigError(f"{where}: {exc.message}", hint=exc.hint) from exc
        groups = {key: _listed(raw[key]) for key in _GROUPS if key in raw} if isinstance(raw, dict) else {}
        return MultiSelector(
            **{key: tuple([self.build(f"{where} {key}", one) for one in members]) for key, members in groups.items()}
        )

    def _where(self, name: str) -> str:
        return f"{self._path}: [selectors.{name}]"

    def _check_named(self, name: str, trail: tuple[str, ...]) -> None:
        if name in trail:
            cycle = " -> ".join((*trail[trail.index(name) :], name))
            raise ConfigError(f"{self._where(name)} refers to itself: {safe_text(cycle, 200)}")
        if name in self._checked:
            return
        self._check(self._where(name), self._entries[name], (*trail, name))
        self._checked.add(name)

    def _check(self, where: str, raw: object, trail: tuple[str, ...]) -> None:
        if isinstance(raw, str):
            if raw in self._entries:
                self._check_named(raw, trail)
            elif not _CONDITION.search(raw):
                match = near(raw, self._entries)
                hint = "a selector is a name of [selectors] or a condition, StudyDescription == ProjectA say"
                if "=" in raw:
                    hint = "a condition has one of == != < <= > >= ~= in"
                raise ConfigError(
                    f"{where}: no selector called '{safe_text(raw, 100)}'",
                    hint=f"did you mean '{match}'?" if match else hint,
                )
        elif not isinstance(raw, dict):
            raise ConfigError(f"{where} must be a selector, not {kind_of(raw)}", hint="a name, a condition or a table")
        elif not _is_group(raw):
            check_keys(where, raw, SelectorSettings, extra=_GROUPS)
            for key in ("attr", "op"):
                if key not in raw:
                    raise ConfigError(f"{where} has no {key}", hint="attr, op and rvalue, or all_of, any_of, none_of")
            convert(where, raw, SelectorSettings)
        else:
            for key, members in raw.items():
                if key not in _GROUPS:
                    raise ConfigError(
                        f"{where} has {key} beside {', '.join(other for other in raw if other in _GROUPS)}",
                        hint="a selector is one condition (attr, op, rvalue) or several (all_of, any_of, none_of)",
                    )
                if not _listed(members):
                    raise ConfigError(f"{where} {key} is empty")
                for member in _listed(members):
                    self._check(f"{where} {key}", member, trail)


def plain(value: Any) -> Any:
    """A value of TOML as one of DICOM: dates and times as text (PS3.5 section 6.2)."""
    if isinstance(value, list):
        return [plain(one) for one in value]
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items()}
    if isinstance(value, datetime.datetime):
        return value.strftime("%Y%m%d%H%M%S") + (f".{value:%f}" if value.microsecond else "") + f"{value:%z}"
    if isinstance(value, datetime.date):
        return value.strftime("%Y%m%d")
    if isinstance(value, datetime.time):
        return value.strftime("%H%M%S") + (f".{value:%f}" if value.microsecond else "")
    return value


def _is_group(table: Mapping[str, object]) -> bool:
    return any(key in table for key in _GROUPS)


def _listed(members: object) -> list[object]:
    return members if isinstance(members, list) else [members]
