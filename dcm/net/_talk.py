"""What ``-vv`` shows of associations: which were opened, for what, and how they ended."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from dcm.errors import NetworkError
from dcm.text import plural, safe_text

if TYPE_CHECKING:
    from dcm.net._association import Association

__all__ = ["log_association"]

log = logging.getLogger(__name__)


def log_association(association: Association) -> None:
    """Log an association that was accepted just now, and its end when that comes.

    Parameters
    ----------
    association : Association
        By us or by the peer.
    """
    if not log.isEnabledFor(logging.DEBUG):
        return
    peer, contexts = association.peer, association.wire.contexts
    log.debug("association with %s is open: %s accepted", peer, plural(len(contexts), "presentation context"))
    for context in contexts.values():
        log.debug("  %d: %s in %s", context.id, safe_text(context.abstract_syntax), safe_text(context.transfer_syntax))
    association.closed.add_done_callback(lambda _: log.debug("association over: %s", _end_of(association)))


def _end_of(association: Association) -> str:
    try:
        association.check()
    except NetworkError as error:
        return safe_text(error.message)
    return safe_text(association.peer)
