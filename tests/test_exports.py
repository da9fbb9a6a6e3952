"""What can be imported from where: the public names of dcm."""

from __future__ import annotations

import ast
import importlib
import pkgutil
from pathlib import Path

import pytest

import dcm

# What users type. Names are added here, and never go.
PUBLIC = {
    "dcm": {
        *("DcmError", "DcmNode", "Instance", "LocalDir", "LocalEntity", "QueryLevel", "QueryResult", "RemoteNode"),
        "__version__",
    },
    "dcm.conf": {"DcmConfig", "Overrides"},
    "dcm.errors": {"DcmError", "InconsistentDataError", "InvalidDicomError"},
    "dcm.net": {"DcmNode", "LocalEntity"},
    "dcm.node": {"DcmNode", "DicomOpType", "DicomRole", "QueryModel", "RemoteNode"},
    "dcm.query": {"DataNode", "DataPath", "QueryLevel", "QueryProv", "QueryResult"},
    "dcm.route": {"DynamicRoute", "Router", "SelectorDestMap", "StaticRoute"},
    "dcm.store": {"DataBucket", "DataRepo", "TransferMethod"},
    "dcm.store.local_dir": {"LocalDir"},
    "dcm.store.memory": {"MemoryStore"},
    "dcm.store.net_repo": {"NetRepo"},
}

MODULES = sorted(
    info.name for info in pkgutil.walk_packages(dcm.__path__, "dcm.") if not info.name.endswith("__main__")
)


@pytest.mark.parametrize("module_name", PUBLIC)
def test_public_names_are_there(module_name: str) -> None:
    module = importlib.import_module(module_name)
    missing = {name for name in PUBLIC[module_name] if not hasattr(module, name)}
    assert not missing
    assert PUBLIC[module_name] <= set(module.__all__)


@pytest.mark.parametrize("module_name", ["dcm", *MODULES])
def test_all_is_true(module_name: str) -> None:
    """Every module says what is public in it; each name is there, and named once."""
    module = importlib.import_module(module_name)
    names: list[str] = list(getattr(module, "__all__", []))
    assert len(names) == len(set(names))
    for name in names:
        getattr(module, name)


def test_top_level_names_are_the_same_for_a_type_checker() -> None:
    """The lazy exports and those that only a type checker sees are the same, from the same modules."""
    tree = ast.parse(Path(dcm.__file__).read_text())
    for_types = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("dcm."):
            for_types.update({alias.asname or alias.name: node.module for alias in node.names})
    assert set(for_types) == set(dcm.__all__)
    for name, module_name in for_types.items():
        assert getattr(dcm, name) is getattr(importlib.import_module(module_name), name)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'LocalEntitiy'"):
        _ = dcm.LocalEntitiy  # type: ignore[attr-defined]  # the typo is the point


def test_dir_lists_lazy_names() -> None:
    assert set(dcm.__all__) <= set(dir(dcm))


def test_version_is_the_one_of_the_package() -> None:
    pyproject = (Path(__file__).parent.parent / "pyproject.toml").read_text()
    assert f'\nversion = "{dcm.__version__}"\n' in pyproject


def test_types_are_shipped() -> None:
    assert (Path(dcm.__file__).parent / "py.typed").exists()
