"""What the command line says over the configuration file: one value, and the rule by which it is merged in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from dcm.conf._schema import AccessSettings
from dcm.errors import UsageError

if TYPE_CHECKING:
    from dcm.filt import Filter
    from dcm.store.base import TransferMethod

__all__ = ["METHODS", "RULES", "AccessOverrides", "Overrides", "to_method"]

METHODS: Final = ("proxy", "remote_copy", "copy", "move", "link", "symlink")
"""What the ways to get there are called, in the file and behind ``--method``."""

RULES: Final = (
    (("--local",), "who we are, for each node and repository, whatever their local is"),
    (("--dir-format",), "the out_fmt of every destination directory; a template typed behind a path counts more"),
    (("--out-file-ext",), "the file_ext of every destination directory"),
    (("--in-file-ext",), "the file_ext of every source directory"),
    (("--recurse", "--no-recurse"), "the recurse of every source directory"),
    (("--no-index",), "index = false for every directory"),
    (("--method", "-m"), "replaces the methods of every route, and the dest_methods"),
    (("--allow-ae", "--allow-address"), "the allowed_ae_titles and the allowed_addresses of the local node"),
    (("--require-called-ae", "--no-require-called-ae"), "the require_called_ae of the local node"),
    (("--max-assoc", "--max-assoc-per-peer"), "the max_assoc and the max_assoc_per_peer of the local node"),
    (
        ("--edit", "-e", "--edit-json"),
        "come behind the filters of every route, which see the data as it was before: they replace nothing",
    ),
)
"""What each option does to the settings of the file: the same for all destinations, named, in a route, or typed."""


@dataclass(frozen=True)
class AccessOverrides:
    """What the command line says of who may call us; None, or nothing, leaves it as the file says.

    Parameters
    ----------
    allowed_ae_titles, allowed_addresses : tuple of str
    require_called_ae : bool or None
    max_assoc, max_assoc_per_peer : int or None
        See `dcm.conf.AccessSettings`.
    """

    allowed_ae_titles: tuple[str, ...] = ()
    allowed_addresses: tuple[str, ...] = ()
    require_called_ae: bool | None = None
    max_assoc: int | None = None
    max_assoc_per_peer: int | None = None

    def over(self, settings: AccessSettings) -> AccessSettings:
        """The settings of a local node with these over them."""
        said = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(settings, **{name: value for name, value in said.items() if value not in (None, ())})


@dataclass(frozen=True)
class Overrides:
    """What the command line says over the configuration file; None, or nothing, leaves it as the file says.

    Parameters
    ----------
    local : str or None
        Name or inline node of the local entity.
    out_fmt : str or None
        The path template of every destination directory.
    recurse : bool or None
        Whether source directories are read with those below them.
    in_file_ext, out_file_ext : str or None
        The file name extension in source and in destination directories.
    index : bool or None
        Whether an index of directories is kept.
    sync : bool or None
        Whether destination directories wait for the disk after each file.
    access : AccessOverrides
        Who may call us.
    methods : tuple of str
        How data gets to every destination, best first; see `METHODS`.
    edits : mapping
        What is edited behind the filters of every route; see `dcm.filt.make_edit_filter`.

    Notes
    -----
    The rule, see `RULES`: what is typed counts more than what is in the file, for every destination alike. Edits alone
    do not replace what a route does, but come behind it: nobody turns off an anonymisation by an option.
    """

    local: str | None = None
    out_fmt: str | None = None
    recurse: bool | None = None
    in_file_ext: str | None = None
    out_file_ext: str | None = None
    index: bool | None = None
    sync: bool | None = None
    access: AccessOverrides = AccessOverrides()
    methods: tuple[str, ...] = ()
    edits: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "methods", tuple(self.methods))
        object.__setattr__(self, "edits", MappingProxyType(dict(self.edits)))

    def dir_settings(self, *, is_dest: bool) -> dict[str, Any]:
        """What is said of directories, as arguments of `LocalDir`."""
        if is_dest:
            said = {"out_fmt": self.out_fmt, "file_ext": self.out_file_ext, "sync": self.sync, "index": self.index}
        else:
            said = {"recurse": self.recurse, "in_file_ext": self.in_file_ext, "index": self.index}
        return {name: value for name, value in said.items() if value is not None}

    def filter_behind(self, filt: Filter | None) -> Filter | None:
        """What becomes of instances on a route with a filter of its own, or none.

        Raises
        ------
        UsageError
            The edits are none.
        """
        if not self.edits:
            return filt
        from dcm.filt import MultiFilter, make_edit_filter

        edit = make_edit_filter(self.edits)
        return edit if filt is None else MultiFilter([filt, edit])

    def methods_of(self, said: tuple[str, ...] | None, *, filtered: bool) -> tuple[TransferMethod, ...]:
        """How data gets to the destinations of a route for which the file says something, or nothing.

        Parameters
        ----------
        said : tuple of str or None
            The setting in the file.
        filtered : bool
            Whether there is a filter on the way: what is filtered passes through us.
        """
        words = self.methods or said or (("proxy",) if filtered else ("copy", "proxy"))
        return tuple(map(to_method, words))


def to_method(word: str) -> TransferMethod:
    """The method that is called so in the file and on the command line.

    Raises
    ------
    UsageError
        None is.
    """
    from dcm.store.base import TransferMethod

    if word not in METHODS:
        raise UsageError(f"there is no method '{word}'", hint=f"there are {', '.join(METHODS)}")
    return TransferMethod("local_copy" if word == "copy" else word)
