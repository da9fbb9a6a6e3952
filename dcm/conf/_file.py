"""Finding, reading and first making the configuration file. Nothing in here changes a file that is there."""

from __future__ import annotations

import importlib
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dcm.conf._example import EXAMPLE
from dcm.conf._schema import (
    AccessSettings,
    LocalDirSettings,
    did_you_mean,
    read_local_dir,
    read_local_node,
    read_remote_node,
)
from dcm.conf._selectors import Selectors
from dcm.errors import ConfigError
from dcm.node import DcmNode, RemoteNode

if TYPE_CHECKING:
    from dcm.conf._routes import DynamicRouteSettings, RepoSettings, StaticRouteSettings

__all__ = ["Sections", "create_config", "default_path", "read_config"]

_FILE_NAME = "dcm_conf.toml"
_ENV = "DCM_CONFIG_PATH"
# How tomllib says where and what.
_AT = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")
_TWICE = re.compile(r"Cannot (?:declare|mutate immutable namespace) \((.*)\)(?: twice)?")
_QUOTED = r"'([^']*)'"

_KNOWN = (
    *("local_nodes", "remote_nodes", "local_dirs", "remote_repos"),
    *("selectors", "static_routes", "dynamic_routes"),
)
# Names that stand in one place on the command line must be of one thing.
_ONE_NAMESPACE = ("remote_nodes", "local_dirs", "remote_repos", "static_routes", "dynamic_routes")


@dataclass(frozen=True)
class Sections:
    """What a configuration file says."""

    local_nodes: Mapping[str, DcmNode] = field(default_factory=dict)
    access: Mapping[str, AccessSettings] = field(default_factory=dict)
    """Who may call each of the local nodes."""
    remote_nodes: Mapping[str, RemoteNode] = field(default_factory=dict)
    local_dirs: Mapping[str, LocalDirSettings] = field(default_factory=dict)
    remote_repos: Mapping[str, RepoSettings] = field(default_factory=dict)
    selectors: Selectors = field(default_factory=lambda: Selectors(Path(), {}))
    static_routes: Mapping[str, StaticRouteSettings] = field(default_factory=dict)
    dynamic_routes: Mapping[str, DynamicRouteSettings] = field(default_factory=dict)

    def section_of(self, name: str) -> str | None:
        """The section with a name that can stand on the command line; of a repository and its node, the repository."""
        return next((section for section in reversed(_ONE_NAMESPACE) if name in getattr(self, section)), None)


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
    from dcm.conf._routes import Names, read_dynamic_route, read_repo, read_static_route

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

    local_nodes = {name: read_local_node(where, entry) for name, where, entry in entries_of("local_nodes")}
    remote_nodes = {name: read_remote_node(where, entry, base_dir) for name, where, entry in entries_of("remote_nodes")}
    selectors = Selectors(path, raw.get("selectors", {}))
    stores = {
        name: section for section in ("remote_nodes", "local_dirs", "remote_repos") for name in raw.get(section, {})
    }
    names = Names(local_nodes, stores, raw.get("static_routes", {}), raw.get("dynamic_routes", {}), selectors)
    return Sections(
        local_nodes={name: node for name, (node, _) in local_nodes.items()},
        access={name: access for name, (_, access) in local_nodes.items()},
        remote_nodes=remote_nodes,
        local_dirs={name: read_local_dir(where, entry, base_dir) for name, where, entry in entries_of("local_dirs")},
        remote_repos={
            name: read_repo(where, entry, names, remote_nodes) for name, where, entry in entries_of("remote_repos")
        },
        selectors=selectors,
        static_routes={
            name: read_static_route(where, entry, names) for name, where, entry in entries_of("static_routes")
        },
        dynamic_routes={
            name: read_dynamic_route(where, entry, names) for name, where, entry in entries_of("dynamic_routes")
        },
    )


def _toml(text: str, path: Path) -> dict[str, Any]:
    tomllib = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    try:
        found: dict[str, Any] = tomllib.loads(text)
        return found
    except tomllib.TOMLDecodeError as exc:
        at = _AT.search(str(exc))
        why = str(exc)[: at.start()] if at else str(exc)
        line = at[1] if at and at[1] else text.rstrip().count("\n") + 1
        twice = _TWICE.fullmatch(why)
        if twice:
            why = f"{'.'.join(re.findall(_QUOTED, twice[1]))} is there twice"
        raise ConfigError(f"{path}, line {line}: not TOML: {why}") from exc
    except RecursionError as exc:
        raise ConfigError(f"{path}: not TOML: nested too deeply") from exc


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
        for name, entry in raw.get(section, {}).items():
            if name in seen and not (section == "remote_repos" and _is_of_node(entry, name, seen[name])):
                raise ConfigError(
                    f"{path}: '{name}' is two things: [{seen[name]}.{name}] and [{section}.{name}]",
                    hint="rename one of them",
                )
            seen[name] = section


def _is_of_node(repo: object, name: str, section: str) -> bool:
    """Whether a repository is of the node that it shares its name with: they are one thing, more or less of it."""
    remote = repo.get("remote") if isinstance(repo, dict) else repo
    return section == "remote_nodes" and remote == name
