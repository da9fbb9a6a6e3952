"""Finding, reading and first making the configuration file. Nothing in here changes a file that is there."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dcm.conf._example import EXAMPLE
from dcm.conf._schema import LocalDirSettings, did_you_mean, read_local_dir, read_local_node, read_remote_node
from dcm.errors import ConfigError
from dcm.node import DcmNode, RemoteNode

__all__ = ["Sections", "create_config", "default_path", "read_config"]

_FILE_NAME = "dcm_conf.toml"
_ENV = "DCM_CONFIG_PATH"

# What later versions read. It is no error to have them, and their names are known.
_UNREAD = ("remote_repos", "selectors", "static_routes", "dynamic_routes")
_KNOWN = ("local_nodes", "remote_nodes", "local_dirs", *_UNREAD)
# Names that stand in one place on the command line must be of one thing. A repo may be called like its node.
_ONE_NAMESPACE = ("remote_nodes", "local_dirs", "static_routes", "dynamic_routes")


@dataclass(frozen=True)
class Sections:
    """What a configuration file says."""

    local_nodes: Mapping[str, DcmNode] = field(default_factory=dict)
    remote_nodes: Mapping[str, RemoteNode] = field(default_factory=dict)
    local_dirs: Mapping[str, LocalDirSettings] = field(default_factory=dict)
    unread: Mapping[str, str] = field(default_factory=dict)
    """Names of sections that this version does not read, and those sections."""


def default_path() -> Path:
    """Where the configuration file is: ``DCM_CONFIG_PATH``, else ``dcm_conf.toml`` in the platform's directory."""
    given = os.environ.get(_ENV)
    if given:
        return Path(given).expanduser()
    import platformdirs

    return Path(platformdirs.user_config_dir("dcm", appauthor=False)) / _FILE_NAME


def create_config(path: Path) -> bool:
    """Make a configuration file of commented examples, readable by its owner only, where there is none.

    Returns
    -------
    bool
        False where there is one already, which stays as it is.

    Raises
    ------
    ConfigError
        It cannot be made.
    """
    if path.exists():
        return False
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except OSError as exc:
        raise ConfigError(f"cannot make the configuration file {path}: {exc.strerror}") from exc
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        file.write(EXAMPLE)
    return True


def read_config(path: Path) -> Sections:
    """Read a configuration file.

    Raises
    ------
    ConfigError
        It cannot be read, it is no TOML, or something in it is wrong.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as exc:
        raise ConfigError(f"{path}: not a text in UTF-8") from exc
    except OSError as exc:
        raise ConfigError(f"cannot read the configuration file {path}: {exc.strerror}") from exc
    return parse_config(text, path)


def parse_config(text: str, path: Path) -> Sections:
    """What the text of a configuration file says; `path` is where it comes from."""
    raw = _with_new_names(_toml(text, path), path)
    for section, entries in raw.items():
        if section not in _KNOWN:
            raise ConfigError(f"{path}: there is no section [{section}]", hint=did_you_mean(section, _KNOWN))
        if not isinstance(entries, dict):
            raise ConfigError(f"{path}: [{section}] must be a section with an entry for each name")
    _check_names(raw, path)
    base_dir = path.absolute().parent

    def entries_of(section: str) -> list[tuple[str, str, object]]:
        return [(name, f"{path}: [{section}.{name}]", entry) for name, entry in raw.get(section, {}).items()]

    return Sections(
        local_nodes={name: read_local_node(where, entry) for name, where, entry in entries_of("local_nodes")},
        remote_nodes={
            name: read_remote_node(where, entry, base_dir) for name, where, entry in entries_of("remote_nodes")
        },
        local_dirs={name: read_local_dir(where, entry, base_dir) for name, where, entry in entries_of("local_dirs")},
        unread={name: section for section in _UNREAD for name in raw.get(section, {})},
    )


def _toml(text: str, path: Path) -> dict[str, Any]:
    import toml

    try:
        return toml.loads(text)
    except toml.TomlDecodeError as exc:
        # The message may go on with all that was read so far.
        why = re.sub(r"What\? (\S+) already exists\?.*", r"\1 is there twice", exc.msg, flags=re.DOTALL).strip(" .")
        raise ConfigError(f"{path}, line {exc.lineno}: not TOML: {why}") from exc
    except (ValueError, IndexError, KeyError, TypeError, AttributeError) as exc:
        # What the toml package lets out where it is surprised, an array that never ends say.
        raise ConfigError(f"{path}: not TOML: {exc}") from exc


def _with_new_names(raw: dict[str, Any], path: Path) -> dict[str, Any]:
    """The sections of older files, ``[local]`` and ``[remotes]``, under their names of today."""
    result = dict(raw)
    for old, new, entries in (
        ("local", "local_nodes", {"default": raw.get("local")}),
        ("remotes", "remote_nodes", raw.get("remotes")),
    ):
        if old not in raw:
            continue
        del result[old]
        merged = result.get(new, {})
        if not isinstance(entries, dict) or not isinstance(merged, dict):
            raise ConfigError(f"{path}: [{old}] must be a section with an entry for each name")
        for name in entries:
            if name in merged:
                raise ConfigError(f"{path}: [{new}.{name}] is there twice, the other time as [{old}]")
        result[new] = {**merged, **entries}
    return result


def _check_names(raw: Mapping[str, Any], path: Path) -> None:
    seen: dict[str, str] = {}
    for section in _ONE_NAMESPACE:
        for name in raw.get(section, {}):
            if name in seen:
                raise ConfigError(
                    f"{path}: '{name}' is two things: [{seen[name]}.{name}] and [{section}.{name}]",
                    hint="rename one of them",
                )
            seen[name] = section
