"""What a name, an inline node or a path on the command line stands for: nodes and directories."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from dcm.conf._file import Sections, default_path, read_config
from dcm.conf._guess import Guess, guess
from dcm.conf._overrides import Overrides
from dcm.conf._schema import ANY_ADDRESS, LocalDirSettings, expanded, near
from dcm.errors import ConfigError, UsageError
from dcm.node import DcmNode, RemoteNode
from dcm.text import safe_text

if TYPE_CHECKING:
    from dcm.conf._routes import DynamicRouteSettings, RepoSettings, StaticRouteSettings
    from dcm.conf._selectors import Selectors
    from dcm.store.local_dir import LocalDir

__all__ = ["INLINE", "Places"]


class Places:
    """Named nodes and directories of a configuration file, and what a text on the command line means.

    Parameters
    ----------
    path, overrides
        See `dcm.conf.DcmConfig`.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None, *, overrides: Overrides | None = None) -> None:
        self.path = Path(path) if path is not None else default_path()
        self.overrides = overrides or Overrides()
        if path is None and not self.path.exists():
            self._sections = Sections()
        else:
            self._sections = read_config(self.path)

    @property
    def local_nodes(self) -> Mapping[str, DcmNode]:
        """The nodes of ``[local_nodes]`` by name."""
        return self._sections.local_nodes

    @property
    def remote_nodes(self) -> Mapping[str, RemoteNode]:
        """The nodes of ``[remote_nodes]`` by name."""
        return self._sections.remote_nodes

    @property
    def local_dirs(self) -> Mapping[str, LocalDirSettings]:
        """The directories of ``[local_dirs]`` by name."""
        return self._sections.local_dirs

    @property
    def remote_repos(self) -> Mapping[str, RepoSettings]:
        """The repositories of ``[remote_repos]`` by name."""
        return self._sections.remote_repos

    @property
    def selectors(self) -> Selectors:
        """The selectors of ``[selectors]`` by name."""
        return self._sections.selectors

    @property
    def static_routes(self) -> Mapping[str, StaticRouteSettings]:
        """What the file says of ``[static_routes]``, by name."""
        return self._sections.static_routes

    @property
    def dynamic_routes(self) -> Mapping[str, DynamicRouteSettings]:
        """What the file says of ``[dynamic_routes]``, by name."""
        return self._sections.dynamic_routes

    # -- who we are ----------------------------------------------------------------------------------------------------

    def local_node(self, text: str | None = None) -> DcmNode:
        """Who we are.

        Parameters
        ----------
        text : str or None
            A name of ``[local_nodes]`` or an inline node. None: what the overrides say, else the node called
            ``default``, else the only one there is, else any address with the default AE title and port.

        Raises
        ------
        ConfigError
            There is no such node, or there are several and none is the default.
        NodeSyntaxError
            An inline node that is none.
        """
        return self._local(text)[1]

    def _local(self, text: str | None) -> tuple[str, DcmNode]:
        """Our name in the file, '' for none, and our node."""
        text = text if text is not None else self.overrides.local
        nodes = self.local_nodes
        if text is not None:
            if text in nodes:
                return text, nodes[text]
            if guess(text, lambda _: False) is Guess.WORD:
                raise self._unknown("local node", text, nodes, f"An inline node is {ANY_ADDRESS}:AE:PORT")
            node = DcmNode.parse(text)
            # Whoever writes out the address of a configured node has its access settings.
            return next((name for name, known in nodes.items() if known == node), ""), node
        if "default" in nodes:
            return "default", nodes["default"]
        if len(nodes) > 1:
            raise ConfigError(
                f"{self.path}: which local node is it: {', '.join(nodes)}?",
                hint="say so with --local NAME, or call one [local_nodes.default]",
            )
        return next(iter(nodes.items()), ("", DcmNode(ANY_ADDRESS)))

    # -- nodes and directories -----------------------------------------------------------------------------------------

    def remote_node(self, text: str) -> RemoteNode:
        """The peer that a name of ``[remote_nodes]`` or an inline node stands for.

        An inline node with the address of a configured one has its settings; a repository is of a node.

        Raises
        ------
        ConfigError
            There is no such name.
        NodeSyntaxError
            An inline node that is none.
        """
        if text in self.remote_nodes:
            return self.remote_nodes[text]
        if text in self.remote_repos:
            return self.remote_node(self.remote_repos[text].remote)
        kind = guess(text, lambda _: False)
        if text in self.local_dirs or kind is Guess.DIR:
            raise ConfigError(f"'{text}' is a directory; a DICOM node is needed here", hint=INLINE)
        self._refuse_route(text, "a DICOM node")
        if kind is Guess.WORD:
            raise self._unknown("node", text, self.remote_nodes, INLINE)
        return self._with_settings(RemoteNode.parse(text))

    def source(self, text: str) -> RemoteNode | LocalDir:
        """The node or directory that data is read from.

        Raises
        ------
        ConfigError
            It is neither, or it is two things.
        UsageError
            It is a directory that is not there.
        NodeSyntaxError
            An inline node that is none.
        """
        self._refuse_two_things(text)
        if text not in self.remote_nodes and text not in self.remote_repos:
            if text in self.local_dirs or guess(text, os.path.exists) is Guess.DIR:
                directory = self.local_dir(text, is_dest=False)
                if not directory.path.is_dir():
                    what = "is not a directory" if directory.path.exists() else "is not there: no such directory"
                    raise UsageError(f"{safe_text(directory.path)} {what}")
                return directory
            self._refuse_route(text, "a node or a directory")
            if guess(text, os.path.exists) is Guess.WORD:
                known = [*self.remote_nodes, *self.local_dirs, *self.remote_repos]
                raise self._unknown("node or directory", text, known, INLINE)
        return self.remote_node(text)

    def dest(self, text: str) -> RemoteNode | LocalDir:
        """The node or directory that data is written to.

        A word that is no name is a new directory, unless a name is near it: it may be misspelled, and the data would
        go to the wrong place.

        Raises
        ------
        ConfigError
            It is neither, or could be both.
        NodeSyntaxError
            An inline node that is none.
        """
        self._refuse_two_things(text)
        if text in self.remote_nodes or text in self.remote_repos:
            return self.remote_node(text)
        kind = guess(text, os.path.exists)
        if text in self.local_dirs or kind is Guess.DIR:
            return self.local_dir(text, is_dest=True)
        self._refuse_route(text, "a node or a directory")
        if kind is Guess.HOST:
            raise ConfigError(
                f"'{text}' is a host or a new directory",
                hint=f"write {text}:AE:PORT for the one, ./{text} for the other",
            )
        if kind is Guess.WORD:
            match = near(text, self._dest_names)
            if match:
                raise ConfigError(
                    f"no node, directory or route called '{text}'",
                    hint=f"did you mean '{match}'? For a new directory write ./{text}",
                )
            return self.local_dir(text, is_dest=True)
        return self._with_settings(RemoteNode.parse(text))

    def local_dir(self, text: str, *, is_dest: bool) -> LocalDir:
        """The directory that a name of ``[local_dirs]``, ``path`` or ``path:format`` stands for.

        Parameters
        ----------
        text : str
            Name or path.
        is_dest : bool
            Whether it is written to; the overrides for the one and the other differ.

        Raises
        ------
        ConfigError
            The settings of a named directory are not possible.
        UsageError
            There is a path template without a directory, or it is none.

        Notes
        -----
        A template behind the path is for that directory, and wins over the overrides, which are for all of them. A
        source that is named by its path has the settings of the directory of the file that has this path. Without a
        setting for it, files of a source are told apart by content, and those of a destination are called ``.dcm``.
        """
        from dcm.store.local_dir import LocalDir

        chosen = self.overrides.dir_settings(is_dest=is_dest)
        section = text if is_dest or text in self.local_dirs else self._named_by_path(text)
        settings = asdict(self.local_dirs[section]) if section in self.local_dirs else {}
        # Files are told apart by content, where nobody asks for an extension; what is in a destination, too.
        settings["in_file_ext"] = (not is_dest and settings.get("file_ext")) or ""
        settings = {name: value for name, value in settings.items() if value is not None}
        if section not in self.local_dirs:
            return LocalDir.parse(text, **{**settings, **chosen})
        try:
            return LocalDir(**{**settings, **chosen})
        except UsageError as exc:
            raise ConfigError(f"{self.path}: [local_dirs.{section}]: {exc.message}", hint=exc.hint) from exc

    # -- names ---------------------------------------------------------------------------------------------------------

    @property
    def _dest_names(self) -> list[str]:
        return [
            *(*self.remote_nodes, *self.local_dirs, *self.remote_repos),
            *(*self.static_routes, *self.dynamic_routes),
        ]

    def _named_by_path(self, text: str) -> str:
        """The name of the directory with this path: a query result, which is piped on, knows paths only."""
        path = expanded(text).absolute()
        return next((name for name, known in self.local_dirs.items() if Path(known.path) == path), text)

    def _with_settings(self, node: RemoteNode) -> RemoteNode:
        """The configured node of the same address: a query result, which is piped on, knows addresses only."""
        return next((known for known in self.remote_nodes.values() if known.address == node.address), node)

    def _refuse_two_things(self, text: str) -> None:
        """Refuse a name that is also a directory: data must not come from, or go to, the wrong one of the two."""
        section = self._sections.section_of(text)
        here = Path(text)
        if section is None or not here.is_dir():
            return
        if section == "local_dirs" and Path(self.local_dirs[text].path).resolve() == here.resolve():
            return
        raise ConfigError(
            f"'{text}' is two things: [{section}.{text}] and a directory that is here",
            hint=f"./{text} is the directory; for the other, rename one of them or go elsewhere",
        )

    def _refuse_route(self, text: str, needed: str) -> None:
        section = self._sections.section_of(text)
        if section is not None:
            raise ConfigError(f"'{text}' is of [{section}], a route; {needed} is needed here")

    def _unknown(self, what: str, text: str, known: Iterable[str], inline: str) -> ConfigError:
        match = near(text, known)
        hint = f"did you mean '{match}'? {inline}" if match else inline
        where = f" in {self.path}" if self.path.exists() else f": there is no {self.path} (dcm conf makes one)"
        return ConfigError(f"no {what} called '{text}'{where}", hint=hint)


INLINE = "An inline node is HOST:AE:PORT"
