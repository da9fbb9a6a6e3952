"""The configuration file, and what a name on the command line stands for.

`DcmConfig` reads ``dcm_conf.toml``, and turns a name, an inline node or a path into a node or a directory. The file is
never written, but for the examples that `create_config` puts into a new one.
"""

from __future__ import annotations

from dcm.conf._config import DcmConfig
from dcm.conf._example import EXAMPLE
from dcm.conf._file import create_config, default_path
from dcm.conf._overrides import METHODS, RULES, AccessOverrides, Overrides
from dcm.conf._schema import AccessSettings, LocalDirSettings

__all__ = [
    "EXAMPLE",
    "METHODS",
    "RULES",
    "AccessOverrides",
    "AccessSettings",
    "DcmConfig",
    "LocalDirSettings",
    "Overrides",
    "create_config",
    "default_path",
]
