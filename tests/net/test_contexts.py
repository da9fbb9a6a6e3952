"""Which presentation contexts are proposed, without a network."""

from __future__ import annotations

import pytest

from dcm.net._contexts import MAX_CONTEXTS, class_groups, query_contexts, storage_contexts
from dcm.net._registry import STORAGE_SYNTAXES, storage_classes
from dcm.node import RemoteNode

CT, MR, PRIVATE = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4", "1.2.826.0.1.3680043.2.1545.99.1"
REMOTE = RemoteNode("pacs", "PACS", 104)


@pytest.mark.parametrize("n_classes", [1, 2, 9, 10, 40, 170])
@pytest.mark.parametrize("room", [127, 126])
def test_all_classes_find_a_place(n_classes: int, room: int) -> None:
    classes = storage_classes()[:n_classes]
    groups = class_groups(classes, REMOTE, room)
    assert [uid for group in groups for uid in group] == list(classes)
    for group in groups:
        contexts = storage_contexts(group, REMOTE, room)
        assert len(contexts) <= room < MAX_CONTEXTS
        assert {uid for uid, _ in contexts} == set(group)
        assert all(len(syntaxes) == 1 for _, syntaxes in contexts)
        # What is common in archives has a context for each class.
        assert all((uid, (syntax,)) in contexts for uid in group for syntax in STORAGE_SYNTAXES[:12])


def test_one_class_gets_every_syntax() -> None:
    (group,) = class_groups([CT], REMOTE)
    assert [syntax for _, (syntax,) in storage_contexts(group, REMOTE)] == list(STORAGE_SYNTAXES)


@pytest.mark.parametrize("modality", ["", "CT", "MR", "XX"])
@pytest.mark.parametrize("again", [False, True])
def test_a_peer_that_does_not_name_classes(modality: str, again: bool) -> None:
    for classes in ((), ("",)):
        groups = class_groups(classes, REMOTE, 126, modality, again)
        assert groups
        assert all(0 < len(storage_contexts(group, REMOTE, 126)) <= 126 for group in groups)
        named = {uid for group in groups for uid in group}
        if modality in ("CT", "MR") or again:
            assert {"CT": CT, "MR": MR}.get(modality, CT) in named
        if again:
            assert named >= set(storage_classes())


def test_settings_choose() -> None:
    remote = RemoteNode(
        "pacs", "PACS", 104, exclude_storage_classes=("^CT ",), transfer_syntaxes=("1.2.840.10008.1.2",)
    )
    assert class_groups([CT, MR], remote) == [(MR,)]
    assert storage_contexts((MR,), remote) == [(MR, ("1.2.840.10008.1.2",))]
    assert class_groups([CT], remote) == []
    assert storage_contexts((), remote) == []
    private = RemoteNode("pacs", "PACS", 104, private_store_classes=(PRIVATE,))
    assert any(PRIVATE in group for group in class_groups([], private))


def test_contexts_for_queries_take_what_every_peer_has() -> None:
    assert query_contexts([CT]) == [(CT, ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2"))]
