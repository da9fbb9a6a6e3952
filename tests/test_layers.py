"""The rooms of the design: import-linter's contracts in pyproject.toml hold."""

from __future__ import annotations

from pathlib import Path

import pytest
from importlinter.application.use_cases import lint_imports
from importlinter.configuration import configure

ROOT = Path(__file__).parent.parent


def test_imports_follow_the_layers(capsys: pytest.CaptureFixture[str]) -> None:
    """Not by import-linter's command: that one also disables every logger there is."""
    configure()
    passed = lint_imports(config_filename=str(ROOT / "pyproject.toml"), cache_dir=None)
    assert passed, capsys.readouterr().out
