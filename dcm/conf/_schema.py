"""What may stand in the sections of the configuration file, and errors that say where it is wrong.

The settings of a section are the fields of the dataclass that it becomes: what `RemoteNode` takes is what
``[remote_nodes.NAME]`` takes.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from dcm.errors import ConfigError, UsageError
from dcm.node import DcmNode, RemoteNode, Timeouts, TlsConfig
from dcm.text import safe_text

if TYPE_CHECKING:
    from dcm.net import AccessPolicy

__all__ = [
    "AccessSettings",
    "LocalDirSettings",
    "check_keys",
    "convert",
    "did_you_mean",
    "expanded",
    "kind_of",
    "near",
    "read_local_dir",
    "read_local_node",
    "read_remote_node",
    "table_of",
    "texts_of",
]

ANY_ADDRESS = "0.0.0.0"  # noqa: S104 - what a node that listens is for

_NESTED: Mapping[str, type[Any]] = {"timeouts": Timeouts, "tls": TlsConfig}
_TYPE_NAMES = {
    "int": "a whole number",
    "float": "a number",
    "str": "a text in quotes",
    "bool": "true or false",
    "array": "a list",
    "object": "a table",
    "null": "nothing",
    "datetime": "a date",
    "date": "a date",
}
_EXPECTED = re.compile(r"Expected `(?P<want>[^`]+)`, got `(?P<got>[^`]+)`")
_AT = re.compile(r" - at `\$\.?(?P<key>[^`]*)`$")

_T = TypeVar("_T")


@dataclasses.dataclass(frozen=True)
class LocalDirSettings:
    """The settings of a directory; they are those of `dcm.store.local_dir.LocalDir`."""

    path: str
    out_fmt: str | None = None
    recurse: bool = True
    file_ext: str | None = None
    max_chunk: int = 1000
    force_overwrite: bool = False
    make_missing: bool = True
    sync: bool = False
    index: bool = True


@dataclasses.dataclass(frozen=True)
class AccessSettings:
    """Who may call a local node; beside its address, these are the settings of ``[local_nodes.NAME]``."""

    allowed_ae_titles: tuple[str, ...] | None = None
    allowed_addresses: tuple[str, ...] | None = None
    require_called_ae: bool = False
    max_assoc: int = 200
    max_assoc_per_peer: int | None = None

    @property
    def policy(self) -> AccessPolicy:
        """What a listener does with them.

        Raises
        ------
        UsageError
            Something in it is no AE title, no address or no limit.
        """
        from dcm.net import AccessPolicy

        return AccessPolicy(
            calling_ae_titles=None if self.allowed_ae_titles is None else frozenset(self.allowed_ae_titles),
            addresses=None if self.allowed_addresses is None else frozenset(self.allowed_addresses),
            require_called_ae=self.require_called_ae,
            max_associations=self.max_assoc,
            max_per_address=self.max_assoc,
            max_per_peer=self.max_assoc_per_peer,
        )


def read_local_node(where: str, raw: object) -> tuple[DcmNode, AccessSettings]:
    """A node of ``[local_nodes]``, and who may call it: a table without a host is any address of this machine.

    Raises
    ------
    ConfigError
        As for all of these: the entry is wrong, and the message begins with `where`.
    """
    access_keys = [field.name for field in dataclasses.fields(AccessSettings)]
    table = _node_table(where, raw, DcmNode, access_keys)
    table.setdefault("host", ANY_ADDRESS)
    access = {key: table.pop(key) for key in access_keys if key in table}
    for key in ("allowed_ae_titles", "allowed_addresses"):
        if key in access:
            access[key] = texts_of(where, key, access[key])
    settings = convert(where, access, AccessSettings)
    for key in ("max_assoc", "max_assoc_per_peer"):
        limit = getattr(settings, key)
        if limit is not None and limit < 1:
            raise ConfigError(f"{where} {key} must be at least 1, not {limit}")
    return convert(where, table, DcmNode), settings


def read_remote_node(where: str, raw: object, base_dir: Path) -> RemoteNode:
    """A node of ``[remote_nodes]``; the files of its TLS settings start at `base_dir`."""
    table = _node_table(where, raw, RemoteNode)
    if "host" not in table:
        raise ConfigError(f"{where} has no host")
    for key in ("supported_ops", "query_models", "retrieve_methods"):
        if isinstance(table.get(key), list):
            table[key] = [item.upper() if isinstance(item, str) else item for item in table[key]]
    if isinstance(table.get("private_store_classes"), list):
        # Older files have pairs of a name and a UID.
        table["private_store_classes"] = [
            item[1] if isinstance(item, list) and len(item) == 2 else item for item in table["private_store_classes"]
        ]
    if isinstance(table.get("transfer_syntaxes"), list):
        table["transfer_syntaxes"] = [_transfer_syntax(where, item) for item in table["transfer_syntaxes"]]
    node = convert(where, table, RemoteNode)
    if node.tls is None:
        return node
    ca, cert, tls_key = (
        None if file is None else str(base_dir / _expanded(where, file))
        for file in (node.tls.ca, node.tls.cert, node.tls.key)
    )
    return dataclasses.replace(node, tls=dataclasses.replace(node.tls, ca=ca, cert=cert, key=tls_key))


def read_local_dir(where: str, raw: object, base_dir: Path) -> LocalDirSettings:
    """A directory of ``[local_dirs]``; a relative path starts at `base_dir`."""
    table = {"path": raw} if isinstance(raw, str) else table_of(where, raw)
    check_keys(where, table, LocalDirSettings)
    if "path" not in table:
        raise ConfigError(f"{where} has no path")
    settings = convert(where, table, LocalDirSettings)
    return dataclasses.replace(settings, path=str(base_dir / _expanded(where, settings.path)))


def expanded(path: str) -> Path:
    """A path with ``~`` and ``~user`` as the directories that they are.

    Raises
    ------
    UsageError
        There is no such user.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as exc:
        raise UsageError(f"'{safe_text(path, 200)}': there is no such user", hint="./~name is a directory") from exc


def _expanded(where: str, path: str) -> Path:
    try:
        return expanded(path)
    except UsageError as exc:
        raise ConfigError(f"{where}: {exc.message}", hint=exc.hint) from exc


def near(word: str, known: Iterable[str]) -> str | None:
    """The one of `known` that `word` was probably meant to be."""
    import difflib

    by_lower = {name.lower(): name for name in known}
    match = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=0.6)
    return by_lower[match[0]] if match else None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A hint: the nearest of `known`, or all of them where none is near."""
    names = list(known)
    match = near(word, names)
    return f"did you mean '{match}'?" if match else f"there are {', '.join(names)}"


def texts_of(where: str, key: str, raw: object) -> tuple[str, ...]:
    """A list of texts; one alone is a list, too."""
    members = raw if isinstance(raw, list) else [raw]
    for member in members:
        if not isinstance(member, str):
            what = f"not {kind_of(member)}" + (" in it" if members is raw else "")
            raise ConfigError(f"{where} {key} must be a list of texts, {what}")
    return tuple(members)


def _node_table(where: str, raw: object, kind: type[DcmNode], more: Iterable[str] = ()) -> dict[str, Any]:
    if isinstance(raw, str):
        try:
            node = DcmNode.parse(raw)
        except UsageError as exc:
            raise ConfigError(f"{where} is {exc.message}", hint=exc.hint) from exc
        return {"host": node.host, "ae_title": node.ae_title, "port": node.port}
    table = table_of(where, raw)
    check_keys(where, table, kind, extra=(*more, "hostname"))
    if "hostname" in table:
        if "host" in table:
            raise ConfigError(f"{where} has both host and hostname", hint="they mean the same: keep one")
        table["host"] = table.pop("hostname")
    return table


def table_of(where: str, raw: object) -> dict[str, Any]:
    """A copy of a table."""
    if not isinstance(raw, dict):
        raise ConfigError(f"{where} must be a table, not {kind_of(raw)}")
    return dict(raw)


def check_keys(where: str, table: Mapping[str, Any], kind: type[Any], extra: tuple[str, ...] = ()) -> None:
    """Refuse what is no setting of a kind of table: the fields of a dataclass."""
    known = [field.name for field in dataclasses.fields(kind)]
    known.extend(extra)
    for key, value in table.items():
        if key not in known:
            raise ConfigError(f"{where} has no setting '{key}'", hint=did_you_mean(key, known))
        if key in _NESTED and isinstance(value, dict):
            check_keys(f"{where} {key}", value, _NESTED[key])


def convert(where: str, table: Mapping[str, Any], kind: type[_T]) -> _T:
    """A table as the dataclass that it is of."""
    import msgspec  # only where there is a configuration file

    try:
        return msgspec.convert(table, kind)
    except msgspec.ValidationError as exc:
        _raise_validation(where, str(exc))
    except UsageError as exc:
        raise ConfigError(f"{where}: {exc.message}", hint=exc.hint) from exc


def _raise_validation(where: str, message: str) -> NoReturn:
    """Say what msgspec says in the words of the file: the key, what it should be, what it is."""
    at = _AT.search(message)
    key = at["key"] if at else ""
    text = message[: at.start()] if at else message
    expected = _EXPECTED.fullmatch(text)
    if expected:
        kinds = [_TYPE_NAMES.get(kind.strip(), kind.strip()) for kind in expected["want"].split("|")]
        want = " or ".join(kind for kind in kinds if kind != "nothing")
        text = f"must be {want}, not {_TYPE_NAMES.get(expected['got'], expected['got'])}"
    elif text.startswith("Invalid enum value"):
        choices = {"supported_ops": "ECHO, FIND, MOVE, GET, STORE", "query_models": "STUDY_ROOT, PATIENT_ROOT"}
        field = re.split(r"[.\[]", key)[0]
        value = text.removeprefix("Invalid enum value ").strip("'")
        key, text = field, f"has no '{value}'; there are {choices.get(field, 'GET, MOVE')}"
    else:
        text = f"is wrong: {text}"
    key = re.sub(r"\[[^]]*\]", "", key)
    raise ConfigError(f"{where} {key} {text}")


def _transfer_syntax(where: str, item: object) -> object:
    """The UID of a transfer syntax that is given by its keyword (PS3.6 table A-1)."""
    if not isinstance(item, str) or item[:1].isdigit():
        return item
    from pydicom.uid import AllTransferSyntaxes

    keywords = {uid.keyword: str(uid) for uid in AllTransferSyntaxes}
    if item not in keywords:
        match = near(item, keywords)
        hint = f"did you mean '{match}'?" if match else "a transfer syntax is a UID or a keyword of PS3.6"
        raise ConfigError(f"{where} transfer_syntaxes has no '{item}'", hint=hint)
    return keywords[item]


def kind_of(raw: object) -> str:
    """What a value of the wrong kind is called."""
    if isinstance(raw, bool):
        return "true or false"
    names = {str: "a text", int: "a number", float: "a number", list: "a list"}
    return names.get(type(raw), "a value")
