"""What holds DICOM instances, and takes more of them.

The protocols are here and in `dcm.store.base`; each kind of store has a module of its own: `dcm.store.local_dir` for
directories, `dcm.store.net_repo` for nodes, `dcm.store.memory` for what is in memory.
"""

from __future__ import annotations

from dcm.store._tree import reason_of
from dcm.store.base import DataBucket, DataChunk, DataRepo, DataSink, Features, InstanceQueue, TransferMethod

__all__ = [
    "DataBucket",
    "DataChunk",
    "DataRepo",
    "DataSink",
    "Features",
    "InstanceQueue",
    "TransferMethod",
    "reason_of",
]
