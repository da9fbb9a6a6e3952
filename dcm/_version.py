"""The version, where reading it costs nothing; a test holds it to the one in pyproject.toml."""

from __future__ import annotations

__all__ = ["__version__"]

__version__ = "0.1.0"
