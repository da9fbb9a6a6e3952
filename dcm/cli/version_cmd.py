"""``dcm version``."""

from __future__ import annotations

import click

from dcm._version import __version__

__all__ = ["command"]


@click.command("version")
def command() -> None:
    """Print the version, and those of what dcm is built on.

    Put it into a bug report.
    """
    import platform
    from importlib.metadata import version

    click.echo(f"dcm {__version__}")
    for name in ("pydicom", "pynetdicom"):
        click.echo(f"{name} {version(name)}")
    click.echo(f"Python {platform.python_version()} on {platform.platform(terse=True)}")
