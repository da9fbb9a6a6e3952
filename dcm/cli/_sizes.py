"""Sizes as people write them: 500M, 2G, 1000000."""

from __future__ import annotations

import re

import click

__all__ = ["to_size"]

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:iB|B)?", re.IGNORECASE | re.ASCII)
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def to_size(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    """The number of bytes that a text on the command line stands for: K is 1024, M is 1024², and so on."""
    if value is None:
        return None
    match = _SIZE.fullmatch(value.strip())
    if match is None:
        raise click.BadParameter(f"'{value}' is no size; 500M and 2G are.", ctx, param)
    return int(float(match[1]) * _UNITS[match[2].upper()])
