"""The configuration: what its names stand for, as stores and routes that can be used."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias

from dcm.conf._guess import Guess, guess
from dcm.conf._overrides import Overrides
from dcm.conf._places import Places
from dcm.conf._schema import AccessSettings, expanded
from dcm.errors import ConfigError, UsageError
from dcm.node import DcmNode, RemoteNode
from dcm.text import safe_text

if TYPE_CHECKING:
    from dcm.net import AccessPolicy, LocalEntity
    from dcm.route import DynamicRoute, StaticRoute
    from dcm.store.base import DataSink
    from dcm.store.local_dir import LocalDir
    from dcm.store.net_repo import NetRepo

    Route: TypeAlias = StaticRoute | DynamicRoute

__all__ = ["DcmConfig"]


class DcmConfig(Places):
    """The configuration: named nodes, directories and routes, and what a text on the command line means.

    Parameters
    ----------
    path : path-like or None
        The file, which must be there. None: at its default place (see `default_path`), where there may be none.
    overrides : Overrides
        What is said over it.

    Raises
    ------
    ConfigError
        The file is not there, or something in it is wrong. What values of selectors, edits and queries mean is read
        when they are used; `check` reads it all.

    Notes
    -----
    A name of the configuration file wins over all but one: a directory of that name that is there makes two things of
    it, which is an error. Apart from names,

    * a text with a colon or an ``@`` is an inline node, unless it has a ``/`` before the first colon or a ``{``
      anywhere: that is a directory, with a path template behind the colon;
    * a text with a dot, an address in brackets and ``localhost`` are hosts where a node is wanted;
    * a word is never a host. A host whose name has no dot is written with its port, ``pacs1:104``. So a misspelled
      name is an error, and no connection to nowhere.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None, *, overrides: Overrides | None = None) -> None:
        super().__init__(path, overrides=overrides)
        self._entities: dict[tuple[DcmNode, AccessPolicy], LocalEntity] = {}
        self._sinks: dict[tuple[str, str], DataSink] = {}

    def entity(self, text: str | None = None) -> LocalEntity:
        """Who we are, able to call and be called: with the access settings of the node; errors as in `local_node`.

        The same node gives the same entity each time, so that all that comes to its port is told apart by one listener.
        """
        from dcm.net import LocalEntity

        node, policy = self._local(text)[1], self.access_policy(text)
        if (node, policy) not in self._entities:
            self._entities[node, policy] = LocalEntity(node, policy=policy)
        return self._entities[node, policy]

    def access_settings(self, name: str) -> AccessSettings:
        """What the file says of who may call a local node of ``[local_nodes]``; the defaults where it is none."""
        return self._sections.access.get(name, AccessSettings())

    def access_policy(self, text: str | None = None) -> AccessPolicy:
        """Who may call us: what the file says of the local node, with the overrides over it; errors as in `local_node`.

        An inline node with the address of a configured one has its settings.
        """
        name, _ = self._local(text)
        file_says = self.access_settings(name)
        try:
            _ = file_says.policy  # what is wrong in there is the fault of nobody who types
        except UsageError as exc:
            raise ConfigError(f"{self.path}: [local_nodes.{name}]: {exc.message}", hint=exc.hint) from exc
        return self.overrides.access.over(file_says).policy

    def repo(self, text: str) -> NetRepo | LocalDir:
        """The store that data is read from: a node, a repository or a directory; errors as in `source`."""
        place = self.source(text)
        if not isinstance(place, RemoteNode):
            return place
        return self._named_repo(text) if text in self.remote_repos else self._node(place)

    def sink(self, text: str) -> DataSink:
        """The store that data is written to: a node, a repository or a directory; errors as in `dest`."""
        place = self.dest(text)
        if not isinstance(place, RemoteNode):
            return place
        return self._named_repo(text) if text in self.remote_repos else self._node(place)

    def route(self, text: str) -> Route:
        """The route that a name stands for, with the overrides merged in.

        Raises
        ------
        ConfigError
            There is no such route, or something in it is wrong.
        """
        known = [*self.static_routes, *self.dynamic_routes]
        if text not in known:
            section = self._sections.section_of(text)
            if section is not None:
                raise ConfigError(f"'{text}' is of [{section}]; a route is needed here")
            raise self._unknown("route", text, known, "A route is of [static_routes] or [dynamic_routes]")
        self._refuse_two_things(text)
        from dcm.conf._build import dynamic_route, static_route

        section = "static_routes" if text in self.static_routes else "dynamic_routes"
        where = f"{self.path}: [{section}.{text}]"
        rest: dict[str, Any] = {"sink": self._sink_in_file, "selectors": self.selectors, "overrides": self.overrides}
        try:
            if text in self.static_routes:
                return static_route(where, text, self.static_routes[text], **rest)
            return dynamic_route(where, text, self.dynamic_routes[text], static=self.static_routes, **rest)
        except ConfigError:
            raise
        except UsageError as exc:
            raise ConfigError(f"{where}: {exc.message}", hint=exc.hint) from exc

    def dests(self, text: str) -> list[Route]:
        """The route to one destination on the command line, in a list; see `routes_to`."""
        return list(self.routes_to([text]))

    def routes_to(self, texts: Iterable[str]) -> tuple[Route, ...]:
        """The routes to destinations on the command line, with the overrides merged in.

        Parameters
        ----------
        texts : iterable of str
            Nodes, directories, repositories and routes. What is no route becomes one of its own: all of it together,
            in the place of the first.

        Returns
        -------
        tuple of StaticRoute or DynamicRoute
            In the order of the command line, to be used together, by one `dcm.route.Router`: an instance goes once to
            each destination, by the first route that names it.

        Raises
        ------
        ConfigError
            A text is no destination, or could be two things.
        NodeSyntaxError
            An inline node that is none.
        UsageError
            Edits and methods do not go together; or two static routes lead to one place through different filters.
        """
        from dcm.conf._build import refuse_two_filters
        from dcm.route import StaticRoute

        routes: list[Route | None] = []
        sinks: list[DataSink] = []
        for text in dict.fromkeys(texts):
            if text in self.static_routes or text in self.dynamic_routes:
                routes.append(self.route(text))
                continue
            if not sinks:
                routes.append(None)
            sinks.append(self.sink(text))
        filt = self.overrides.filter_behind(None)
        methods = self.overrides.methods_of(None, filtered=filt is not None)
        found = tuple([StaticRoute(tuple(sinks), filt, methods) if route is None else route for route in routes])
        refuse_two_filters(route for route in found if isinstance(route, StaticRoute))
        return found

    def shown(self) -> str:
        """The configuration as it is understood, with the overrides merged in: TOML with comments, without secrets.

        Raises
        ------
        ConfigError
            Something in it cannot be used.
        """
        from dcm.conf._show import shown

        somebody = self._as_somebody()
        return shown(somebody, unclear=somebody is not self)

    def check(self) -> None:
        """Find out whether all that is in the file can be used.

        Raises
        ------
        ConfigError
            Something cannot: a wrong element in a selector or an edit, a template, an address, a query.
        """
        for name in self.local_nodes:
            self.access_policy(name)
        for name in self.local_dirs:
            self.local_dir(name, is_dest=True)
        for name in self.selectors:
            _ = self.selectors[name]
        somebody = self._as_somebody()
        for name in self.remote_repos:
            somebody._named_repo(name)
        for name in (*self.static_routes, *self.dynamic_routes):
            somebody.route(name)

    def _as_somebody(self) -> DcmConfig:
        """The same, and where only ``--local`` can say which of the local nodes we are, one of them."""
        if self.overrides.local is not None or len(self.local_nodes) < 2 or "default" in self.local_nodes:
            return self
        other = copy.copy(self)
        other.overrides = replace(self.overrides, local=next(iter(self.local_nodes)))
        other._entities, other._sinks = {}, {}
        return other

    def _node(self, node: RemoteNode) -> NetRepo:
        from dcm.store.net_repo import NetRepo

        return NetRepo(self.entity(), node)

    def _named_repo(self, name: str) -> NetRepo:
        from dcm.conf._query import base_query
        from dcm.store.net_repo import NetRepo

        repo = self.remote_repos[name]
        return NetRepo(
            self.entity(self.overrides.local or repo.local),
            self.remote_node(repo.remote),
            repo.level,
            base_query(f"{self.path}: [remote_repos.{name}] base_query", repo.base_query),
            repo.chunk_size,
        )

    def _sink_in_file(self, text: str, via: str = "") -> DataSink:
        """The store that a text in the file stands for, as it is reached by a route; one object for the two.

        A relative path starts where the file is.
        """
        key = (text, f"file {via}")
        if key not in self._sinks:
            if text in self.local_dirs:
                self._sinks[key] = self.local_dir(text, is_dest=True)
            elif text in self.remote_repos:
                self._sinks[key] = self._named_repo(text)
            elif text in self.remote_nodes:
                self._sinks[key] = self._node(self.remote_nodes[text])
            elif guess(text, lambda _: False) is Guess.DIR:
                self._sinks[key] = self._dir_in_file(text)
            else:
                self._sinks[key] = self._node(self._with_settings(RemoteNode.parse(text)))
        return self._sinks[key]

    def _dir_in_file(self, text: str) -> LocalDir:
        """A directory that is written out in a route: what the command line says counts more than its template."""
        from dcm.store.local_dir import LocalDir

        path, colon, _ = text.partition("{")[0].rpartition(":")
        settings: dict[str, Any] = {"in_file_ext": ""}
        if "{" in text:
            if not colon or not path:
                raise UsageError(f"no path before the format: '{safe_text(text)}'", hint="write PATH:FORMAT")
            settings["out_fmt"] = text[len(path) + 1 :]
        else:
            path = text
        settings.update(self.overrides.dir_settings(is_dest=True))
        return LocalDir(self.path.absolute().parent / expanded(path), **settings)
