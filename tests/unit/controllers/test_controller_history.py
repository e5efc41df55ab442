"""Histories of pod templates: what a revision is called, which is the newest, which are given up."""

from __future__ import annotations

from typing import Any

from apimachinery.meta import Object, name
from apimachinery.resources import DAEMONSETS, STATEFULSETS
from controllers import controller_history as history


def owner(image: str = "web:1", **annotations: str) -> Object:
    template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "app", "image": image}]}}
    metadata = {"name": "web", "namespace": "default", "uid": "set-uid", "annotations": annotations}
    return {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": metadata, "spec": {"template": template}}


def revision(image: str, number: int, **options: Any) -> Object:
    return history.new_revision(STATEFULSETS, owner(image), number=number, **options)


def test_a_revision_brings_its_template_back() -> None:
    first = revision("web:1", 1)
    back = history.with_revision(STATEFULSETS, owner("web:2", note="kept"), first)
    assert back["spec"] == owner("web:1")["spec"]
    assert back["metadata"]["annotations"] == {"note": "kept"}


def test_a_revision_is_named_by_its_template_and_carries_its_owners_annotations() -> None:
    one = history.new_revision(STATEFULSETS, owner(**{"kubernetes.io/change-cause": "first"}), number=3)
    digest = one["metadata"]["labels"][history.HASH_LABEL]
    assert name(one) == f"web-{digest}"
    assert one["metadata"]["labels"]["app"] == "web"
    assert one["metadata"]["annotations"] == {"kubernetes.io/change-cause": "first"}
    assert one["metadata"]["ownerReferences"][0]["uid"] == "set-uid"
    assert one["metadata"]["ownerReferences"][0]["controller"] is True
    assert one["revision"] == 3
    assert name(one) == name(revision("web:1", 9))
    assert name(one) != name(revision("web:2", 3))
    assert name(one) != name(revision("web:1", 3, collision_count=1))


def test_a_daemon_sets_revision_carries_its_hash_in_the_label_of_its_pods() -> None:
    one = history.new_revision(DAEMONSETS, owner(), number=1, hash_label=history.REVISION_LABEL)
    assert name(one) == f"web-{one['metadata']['labels'][history.REVISION_LABEL]}"
    assert history.HASH_LABEL not in one["metadata"]["labels"]


def test_a_long_name_leaves_room_for_the_hash() -> None:
    long = owner()
    long["metadata"]["name"] = "x" * 250
    assert len(name(history.new_revision(STATEFULSETS, long, number=1))) <= 253


def test_a_template_that_never_was_gets_the_next_number() -> None:
    assert history.plan_newest(owner("web:1"), []) == history.Newest(None, 1)
    revisions = [revision("web:1", 4), revision("web:2", 2)]
    assert history.plan_newest(owner("web:3"), revisions) == history.Newest(None, 5)


def test_the_current_templates_revision_stays_the_newest() -> None:
    revisions = [revision("web:1", 1), revision("web:2", 2)]
    newest = history.plan_newest(owner("web:2"), revisions)
    assert newest.found is revisions[1] and not newest.is_renumbered


def test_going_back_makes_the_earlier_revision_the_newest() -> None:
    revisions = [revision("web:1", 1), revision("web:2", 2)]
    newest = history.plan_newest(owner("web:1"), revisions)
    assert newest.found is revisions[0] and newest.is_renumbered and newest.number == 3


def test_of_revisions_with_the_same_number_the_older_comes_first() -> None:
    one, other = revision("web:1", 1), revision("web:2", 1)
    one["metadata"]["creationTimestamp"] = "2026-01-02T00:00:00Z"
    other["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z"
    assert history.in_order([one, other]) == [other, one]


def test_history_beyond_the_limit_is_given_up_but_never_what_is_in_use() -> None:
    revisions = [revision(f"web:{number}", number) for number in (3, 1, 2, 4)]
    live = {name(revision("web:1", 1)), name(revision("web:4", 4))}
    assert [one["revision"] for one in history.outlived(revisions, live, 1)] == [2]
    assert [one["revision"] for one in history.outlived(revisions, live, 0)] == [2, 3]
    assert history.outlived(revisions, live, 10) == []
