"""Move DICOM studies between PACS, directories and whatever else stores them.

The names below are the usual entry points; the rest is in the modules that they come from. They are imported when
they are first used, so that ``import dcm`` takes no time::

    from dcm import DcmNode, LocalEntity

    local = LocalEntity(DcmNode("0.0.0.0", "LOCALAE", 11112))
    qr = await local.query(DcmNode("mypacs.org", "MYPACS", 11112), query=query)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dcm import _lazy
from dcm._version import __version__

if TYPE_CHECKING:
    from dcm.errors import DcmError as DcmError
    from dcm.instance import Instance as Instance
    from dcm.levels import QueryLevel as QueryLevel
    from dcm.net import LocalEntity as LocalEntity
    from dcm.node import DcmNode as DcmNode
    from dcm.node import RemoteNode as RemoteNode
    from dcm.query import QueryResult as QueryResult
    from dcm.store.local_dir import LocalDir as LocalDir
else:
    _EXPORTS = {
        "DcmError": "dcm.errors",
        "DcmNode": "dcm.node",
        "Instance": "dcm.instance",
        "LocalDir": "dcm.store.local_dir",
        "LocalEntity": "dcm.net",
        "QueryLevel": "dcm.levels",
        "QueryResult": "dcm.query",
        "RemoteNode": "dcm.node",
    }
    __getattr__, __dir__ = _lazy.lazy(__name__, _EXPORTS)


__all__ = [
    "DcmError",
    "DcmNode",
    "Instance",
    "LocalDir",
    "LocalEntity",
    "QueryLevel",
    "QueryResult",
    "RemoteNode",
    "__version__",
]
