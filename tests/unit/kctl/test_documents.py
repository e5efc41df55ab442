"""What `-f` reads, and what it says of files that are no good."""

from __future__ import annotations

from pathlib import Path

import pytest

from kctl.documents import read_objects
from kctl.errors import CommandError

POD = "apiVersion: v1\nkind: Pod\nmetadata: {name: %s}\n"


def _doubled(times: int) -> str:
    """Aliases of aliases: each line stands for ten times what the one before does."""
    letters = "abcdefghijklmnop"
    lines = [f"{letters[n]}: &{letters[n]} [{','.join([f'*{letters[n - 1]}'] * 10)}]" for n in range(1, times)]
    return "\n".join(lines)


def names(sources: list[str], *, recursive: bool = False) -> list[str]:
    return [item["metadata"]["name"] for _, item in read_objects(sources, recursive=recursive)]


def test_several_documents_come_in_their_order_and_empty_ones_are_passed_over(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("---\n".join([POD % "one", "# nothing\n", POD % "two"]))
    assert names([str(file)]) == ["one", "two"]


def test_a_folder_is_read_in_the_order_of_its_names_and_below_only_if_asked(tmp_path: Path) -> None:
    (tmp_path / "b.yml").write_text(POD % "b")
    (tmp_path / "a.json").write_text('{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a"}}')
    (tmp_path / "notes.txt").write_text("not yaml: [")
    (tmp_path / "deeper").mkdir()
    (tmp_path / "deeper" / "c.yaml").write_text(POD % "c")
    assert names([str(tmp_path)]) == ["a", "b"]
    assert names([str(tmp_path)], recursive=True) == ["a", "b", "c"]


def test_a_list_is_opened(tmp_path: Path) -> None:
    file = tmp_path / "list.yaml"
    items = [f"- {{apiVersion: v1, kind: Pod, metadata: {{name: {name}}}}}" for name in ("x", "z")]
    file.write_text("apiVersion: v1\nkind: List\nitems:\n" + "\n".join(items))
    assert names([str(file)]) == ["x", "z"]


def test_a_timestamp_stays_the_text_that_was_written(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(POD % "a" + "spec: {at: 2026-01-02T03:04:05Z, day: 2026-01-02}\n")
    [(_, item)] = read_objects([str(file)])
    assert item["spec"] == {"at": "2026-01-02T03:04:05Z", "day": "2026-01-02"}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("kind: Pod\n  metadata: {", "line 2, column 11: mapping values are not allowed"),
        ("kind: Pod\nkind: Service\n", "line 2, column 1: key 'kind' is set twice"),
        ("- a\n- b\n", "an object must be a mapping, not list"),
        ("kind: Pod\nmetadata: {name: a}\n", "apiVersion is not set"),
        ("apiVersion: v1\nmetadata: {name: a}\n", "kind is not set"),
        ("apiVersion: v1\nkind: Pod\n", "metadata.name is not set"),
        ("", "no objects found"),
    ],
)
def test_a_mistake_names_the_file_and_the_place(tmp_path: Path, text: str, complaint: str) -> None:
    file = tmp_path / "wrong.yaml"
    file.write_text(text)
    with pytest.raises(CommandError) as caught:
        read_objects([str(file)])
    assert "wrong.yaml" in str(caught.value)
    assert complaint in str(caught.value)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[" * 100_000, "exceeded max depth"),
        ("- " * 100_000, "exceeded max depth"),
        ("a: &a [x,x,x,x,x,x,x,x,x,x]\n" + _doubled(12), "more than 1000000 values"),
        ("? [a]\n: b", "must be a plain word"),
        ("a: !!int x", "as a !!int"),
    ],
)
def test_a_file_that_means_harm_is_refused_in_one_line(tmp_path: Path, text: str, complaint: str) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(text)
    with pytest.raises(CommandError, match=complaint):
        read_objects([str(file)])


def test_a_file_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match=r"none\.yaml: No such file"):
        read_objects([str(tmp_path / "none.yaml")])
    with pytest.raises(CommandError, match="holds no"):
        read_objects([str(tmp_path)])
