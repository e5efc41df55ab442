"""The store: what is acknowledged is kept, what fails changes nothing, and the past can be read until compaction."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import pytest
import sqlalchemy as sa

from apimachinery.errors import ApiError
from apiserver.storage import store as store_module
from apiserver.storage.entry import Entry
from apiserver.storage.group_commit import Also, Look, Side
from apiserver.storage.log import Log, StorageError
from apiserver.storage.store import Conflict, Store
from apiserver.storage.watch import ADDED, DELETED, MODIFIED, Selection

PODS, SECRETS = "core/pods", "core/secrets"


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[Store]:
    store = Store(folder / "cluster.db", now=lambda: 1.7e9)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with opened(tmp_path) as found:
        yield found


def pod(name: str, **labels: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "labels": labels}, "spec": {"nodeName": labels.pop("node", "")}}


async def put(store: Store, obj: dict[str, Any], expected: int = 0, resource: str = PODS) -> Entry:
    def encode(revision: int) -> bytes:
        return orjson.dumps({**obj, "metadata": {**obj["metadata"], "resourceVersion": str(revision)}})

    return await store.commit(resource, "default", obj["metadata"]["name"], expected=expected, encode=encode)


async def remove(store: Store, entry: Entry, resource: str = PODS) -> Entry:
    return await store.commit(
        resource, entry.namespace, entry.name, expected=entry.revision, encode=lambda _: entry.raw, deleted=True
    )


async def names(store: Store, revision: int | None = None, selection: Selection | None = None) -> list[str]:
    found = await store.select(PODS, selection or Selection(), revision=revision)
    return [entry.name for entry in found.entries]


async def seen(store: Store, since: int, selection: Selection | None = None) -> list[tuple[str, str, int]]:
    watcher = await store.watch(PODS, selection or Selection(), since)
    store.unwatch(PODS, watcher)
    batch = watcher.take()
    return [(kind, entry.name, entry.revision) for kind, entry in batch]


async def test_what_was_written_is_there_after_a_restart(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        first = await put(store, pod("a"))
        second = await put(store, pod("a", app="x"), first.revision)
    async with opened(tmp_path) as store:
        entry = store.get(PODS, "default", "a")
        assert entry is not None and entry.raw == second.raw
        assert store.revision == second.revision
        assert entry.labels == {"app": "x"}


async def test_of_two_writes_to_one_version_one_wins_and_the_other_finds_it(store: Store) -> None:
    first = await put(store, pod("a"))
    results = await asyncio.gather(
        *(put(store, pod("a", by=str(n)), first.revision) for n in range(5)), return_exceptions=True
    )
    won = [result for result in results if isinstance(result, Entry)]
    lost = [result for result in results if isinstance(result, Conflict)]
    assert len(won) == 1 and len(lost) == 4
    assert store.get(PODS, "default", "a") is won[0]


async def test_a_conflict_is_told_only_when_what_was_in_the_way_is_visible(store: Store) -> None:
    first = await put(store, pod("a"))

    async def lose() -> int:
        with pytest.raises(Conflict):
            await put(store, pod("a"), first.revision)
        found = store.get(PODS, "default", "a")
        assert found is not None
        return found.revision

    winner, visible = await asyncio.gather(put(store, pod("a", by="w"), first.revision), lose())
    assert visible == winner.revision


async def test_writes_that_wait_share_a_transaction(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    groups: list[int] = []
    append = Log.append
    monkeypatch.setattr(Log, "append", lambda log, rows: (groups.append(len(rows)), append(log, rows))[1])
    await asyncio.gather(*(put(store, pod(f"p{n}")) for n in range(50)))
    assert sum(groups) == 50 and len(groups) <= 3


async def test_an_object_can_be_made_again_after_its_deletion(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        gone = await remove(store, await put(store, pod("a")))
        again = await put(store, pod("a"))
        await remove(store, again)
    async with opened(tmp_path) as store:
        again = await put(store, pod("a"))
        await store.compact(gone.revision)
        await remove(store, again)
        await store.compact(store.revision)
        await put(store, pod("a"))
        assert await names(store) == ["a"]
    async with opened(tmp_path) as store:
        assert await names(store) == ["a"]


async def test_creating_and_deleting_in_one_group_is_kept_in_order(store: Store) -> None:
    entry = await put(store, pod("a"))
    results = await asyncio.gather(
        store.commit(PODS, "default", "a", expected=1, encode=lambda _: entry.raw, deleted=True),
        put(store, pod("a", again="yes")),
    )
    assert [result.revision for result in results] == [2, 3]
    assert await seen(store, 0) == [(ADDED, "a", 1), (DELETED, "a", 2), (ADDED, "a", 3)]


async def test_a_write_that_cannot_be_encoded_fails_alone(store: Store) -> None:
    def fail(_: int) -> bytes:
        raise ValueError("no")

    broken = store.commit(PODS, "default", "b", expected=0, encode=fail)
    results = await asyncio.gather(put(store, pod("a")), broken, put(store, pod("c")), return_exceptions=True)
    assert isinstance(results[1], ValueError)
    assert await names(store) == ["a", "c"]
    assert store.revision == 2


async def test_no_object_grows_without_end_and_each_can_be_removed(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = await put(store, pod("a", x="y" * 1000))
    monkeypatch.setattr("apiserver.storage.group_commit.OBJECT_BYTES_MAX", 500)
    with pytest.raises(ApiError) as refused:
        await put(store, pod("a", x="y" * 2000), expected=large.revision)
    assert refused.value.code == 413
    assert await names(store) == ["a"]
    await remove(store, large)
    assert await names(store) == []


async def test_a_caller_that_goes_away_takes_nothing_back(store: Store) -> None:
    task = asyncio.create_task(put(store, pod("a")))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await put(store, pod("b"))
    assert await names(store) == ["a", "b"]


async def test_a_full_disk_refuses_the_write_and_changes_nothing(store: Store) -> None:
    first = await put(store, pod("a"))
    writer = store._log._writer
    assert writer is not None
    pages = writer.exec_driver_sql("PRAGMA page_count").scalar()
    writer.exec_driver_sql(f"PRAGMA max_page_count={pages}")
    writer.commit()
    large = pod("a") | {"data": "x" * 100_000}
    with pytest.raises(ApiError, match="database or disk is full") as refused:
        await put(store, large, first.revision)
    assert refused.value.code == 500
    assert store.failure is not None
    assert store.get(PODS, "default", "a") is first and store.revision == first.revision

    writer.exec_driver_sql("PRAGMA max_page_count=1000000")
    writer.commit()
    second = await put(store, large, first.revision)
    assert second.revision == first.revision + 1
    assert store.failure is None


async def test_nothing_is_acknowledged_that_goes_into_a_file_which_was_removed(store: Store, tmp_path: Path) -> None:
    await put(store, pod("a"))
    (tmp_path / "cluster.db").rename(tmp_path / "elsewhere")
    with pytest.raises(ApiError, match="was removed"):
        await put(store, pod("b"))
    assert store.failure is not None and await names(store) == ["a"]
    (tmp_path / "elsewhere").rename(tmp_path / "cluster.db")
    await put(store, pod("c"))
    assert store.failure is None and await names(store) == ["a", "c"]


async def test_a_commit_that_failed_after_all_was_stored_is_found(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    append = Log.append

    def store_then_fail(log: Log, rows: Any) -> None:
        append(log, rows)
        raise StorageError("the disk stopped answering")

    with monkeypatch.context() as patch:
        patch.setattr(Log, "append", store_then_fail)
        entry = await put(store, pod("a"))
    assert store.get(PODS, "default", "a") is entry
    await put(store, pod("b"))
    assert await names(store) == ["a", "b"]


async def test_writes_wait_for_nothing_while_nobody_knows_what_is_stored(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    append = Log.append

    def store_then_fail(log: Log, rows: Any) -> None:
        append(log, rows)
        raise StorageError("the disk stopped answering")

    def unreadable(log: Log) -> int:
        raise StorageError("the disk can't be read")

    with monkeypatch.context() as patch:
        patch.setattr(Log, "append", store_then_fail)
        patch.setattr(Log, "newest", unreadable)
        for name in ("a", "b"):
            with pytest.raises(ApiError, match="the disk"):
                await put(store, pod(name))
    # The disk is back: what had been stored is seen before anything new is.
    await put(store, pod("c"))
    assert await names(store) == ["a", "c"]
    assert [name for _, name, _ in await seen(store, 0)] == ["a", "c"]


async def test_a_store_in_use_is_refused(store: Store, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="in use by another API server"):
        async with opened(tmp_path):
            pass


async def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cluster.db").write_bytes(b"no database at all" * 100)
    with pytest.raises(StorageError, match="cluster.db can't be used: file is not a database"):
        async with opened(tmp_path):
            pass


async def test_a_list_of_an_earlier_revision_is_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "HISTORY_LOADED", 0)  # after the restart all of the past is in the log alone
    async with opened(tmp_path) as store:
        a = await put(store, pod("a"))
        b = await put(store, pod("b"))
        await remove(store, a)
        await put(store, pod("b", changed="yes"), b.revision)
        await put(store, pod("c"))
        past = [await names(store, revision) for revision in range(6)]
    assert past == [[], ["a"], ["a", "b"], ["b"], ["b"], ["b", "c"]]
    async with opened(tmp_path) as store:
        assert [await names(store, revision) for revision in range(6)] == past
        found = await store.select(PODS, Selection(), revision=3)
        assert found.entries[0].labels == {}


async def test_pages_are_of_one_revision_whatever_happens_in_between(store: Store) -> None:
    entries = [await put(store, pod(f"p{n}")) for n in range(10)]
    first = await store.select(PODS, Selection(), limit=4)
    assert first.more and first.remaining == 6
    await remove(store, entries[5])
    await put(store, pod("p55"))
    last = first.entries[-1]
    second = await store.select(PODS, Selection(), revision=first.revision, after=("default", last.name), limit=4)
    third = await store.select(PODS, Selection(), revision=first.revision, after=("default", "p7"), limit=4)
    listed = [entry.name for found in (first, second, third) for entry in found.entries]
    assert listed == [f"p{n}" for n in range(10)]
    assert not third.more


async def test_a_watch_resumes_across_a_restart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(tmp_path) as store:
        a = await put(store, pod("a"))
        a = await put(store, pod("a", app="x"), a.revision)
        await remove(store, a)
        await put(store, pod("a"))
    expected = [(ADDED, "a", 1), (MODIFIED, "a", 2), (DELETED, "a", 3), (ADDED, "a", 4)]
    async with opened(tmp_path) as store:
        for since in range(5):
            assert await seen(store, since) == expected[since:]
    monkeypatch.setattr(store_module, "HISTORY_LOADED", 0)
    async with opened(tmp_path) as store:
        for since in range(5):
            assert await seen(store, since) == expected[since:]


@pytest.mark.parametrize("limit", ["READ_EVENTS_MAX", "READ_BYTES_MAX"])
async def test_a_long_past_is_read_bit_by_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    async with opened(tmp_path) as first:
        entry = await put(first, pod("a"))
        for number in range(10):
            entry = await put(first, pod("a", number=str(number)), expected=entry.revision)
    monkeypatch.setattr(store_module, limit, 3)
    monkeypatch.setattr(store_module, "HISTORY_BYTES_LOADED", len(entry.raw))
    async with opened(tmp_path) as second:
        happened = await seen(second, since=0)
        assert [revision for _, _, revision in happened] == list(range(1, 12))


async def test_a_watch_of_too_long_a_past_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(tmp_path) as first:
        entry = await put(first, pod("a"))
        for number in range(10):
            entry = await put(first, pod("a", number=str(number)), expected=entry.revision)
    monkeypatch.setattr(store_module, "READ_EVENTS_MAX", 3)
    monkeypatch.setattr(store_module, "HISTORY_BYTES_LOADED", 0)
    monkeypatch.setattr("apiserver.storage.watch.BUFFER_EVENTS_MAX", 5)
    async with opened(tmp_path) as second:
        watcher = await second.watch(PODS, Selection(), 0)
        with pytest.raises(ApiError, match="too slow"):
            await watcher.next_batch()


async def test_after_compaction_the_past_is_gone_and_the_present_is_not(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        a = await put(store, pod("a"))
        b = await put(store, pod("b"))
        a = await put(store, pod("a", app="x"), a.revision)
        await remove(store, b)
        await put(store, pod("c"))
        await store.compact(4)
    for _ in range(2):
        async with opened(tmp_path) as store:
            for since in (0, 3):
                with pytest.raises(ApiError) as refused:
                    await seen(store, since)
                assert (refused.value.code, refused.value.reason) == (410, "Expired")
                with pytest.raises(ApiError, match="too old resource version"):
                    await names(store, since)
            assert await seen(store, 4) == [(ADDED, "c", 5)]
            assert await names(store, 4) == ["a"]
            assert await names(store) == ["a", "c"]


async def test_a_compaction_in_slices_forgets_all_that_was_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("apiserver.storage.log.COMPACT_REVISIONS", 3)
    async with opened(tmp_path) as store:
        entry = await put(store, pod("a"))
        for _ in range(20):
            entry = await put(store, pod("a"), entry.revision)
        await remove(store, await put(store, pod("b")))
        await store.compact(10)
        await store.compact(store.revision)
        with store._log._engine.connect() as connection:
            rows = connection.execute(sa.text("select revision from log")).scalars().all()
    assert rows == [entry.revision]


async def test_a_watch_of_labels_sees_objects_come_and_go(store: Store) -> None:
    selection = Selection(labels=lambda labels: labels.get("app") == "web")
    watcher = await store.watch(PODS, selection, store.revision)
    entry = await put(store, pod("a", app="db"))
    for app in ("web", "web", "db"):
        entry = await put(store, pod("a", app=app), entry.revision)
    batch = watcher.take()
    assert [(kind, seen.revision) for kind, seen in batch] == [(ADDED, 2), (MODIFIED, 3), (DELETED, 4)]
    left = batch[-1][1].obj["metadata"]
    assert left == {"name": "a", "labels": {"app": "web"}, "resourceVersion": "4"}


async def test_a_watch_of_a_node_hears_only_of_its_pods(store: Store) -> None:
    watcher = await store.watch(PODS, Selection(node="n1"), store.revision)
    entry = await put(store, pod("a"))
    await put(store, pod("b", node="n2"))
    entry = await put(store, pod("a", node="n1"), entry.revision)
    await put(store, pod("a", node="n2"), entry.revision)
    assert [(kind, e.name) for kind, e in watcher.take()] == [(ADDED, "a"), (DELETED, "a")]


async def test_a_slow_watcher_is_cut_off_and_the_others_are_not(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("apiserver.storage.watch.BUFFER_EVENTS_MAX", 3)
    slow = await store.watch(PODS, Selection(), 0)
    quick = await store.watch(PODS, Selection(), 0)
    for n in range(5):
        await put(store, pod(f"p{n}"))
        assert len(quick.take()) == 1
    with pytest.raises(ApiError) as cut:
        slow.take()
    assert cut.value.code == 410


async def test_a_watcher_that_holds_too_much_memory_is_cut_off(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("apiserver.storage.watch.BUFFER_BYTES_MAX", 100)
    slow = await store.watch(PODS, Selection(), 0)
    for n in range(3):
        await put(store, pod(f"p{n}") | {"data": "x" * 100})
    with pytest.raises(ApiError, match="too slow"):
        slow.take()


async def test_waiting_for_a_revision_ends_when_it_is_visible(store: Store) -> None:
    waiting = asyncio.gather(store.wait_for_revision(2), store.wait_for_revision(2))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await store.wait_for_revision(2)
    await put(store, pod("a"))
    assert not waiting.done()
    await put(store, pod("b"))
    await waiting


async def test_secrets_are_unreadable_on_disk_and_nothing_else_changes(tmp_path: Path) -> None:
    secret = {"metadata": {"name": "db"}, "data": {"password": "aHVudGVyMg=="}}
    async with opened(tmp_path) as store:
        entry = await put(store, secret, resource=SECRETS)
        await put(store, secret, entry.revision, resource=SECRETS)
    stored = b"".join(path.read_bytes() for path in tmp_path.glob("cluster.db*"))
    assert b"aHVudGVyMg" not in stored and b"core/secrets" in stored
    assert (tmp_path / "secrets.key").stat().st_mode & 0o777 == 0o600
    async with opened(tmp_path) as store:
        found = store.get(SECRETS, "default", "db")
        assert found is not None and found.obj["data"] == secret["data"]
        watcher = await store.watch(SECRETS, Selection(), 0)
        assert [kind for kind, _ in watcher.take()] == [ADDED, MODIFIED]


async def test_secrets_of_another_key_stop_the_start_with_a_reason(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await put(store, {"metadata": {"name": "db"}}, resource=SECRETS)
    (tmp_path / "secrets.key").write_bytes(b"k" * 32)
    with pytest.raises(StorageError, match="core/secrets/default/db/1 can't be decrypted"):
        async with opened(tmp_path):
            pass


async def test_writes_after_the_end_are_refused(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        pass
    with pytest.raises(ApiError, match="shutting down"):
        await put(store, pod("a"))


QUOTAS = "core/resourcequotas"


def counting(limit: int) -> Also:
    """Count a write in the quota `default/all`, or refuse it."""

    def also(look: Look) -> list[Side]:
        quota = look(QUOTAS, "default", "all")
        assert quota is not None
        used = quota.obj["used"] + 1
        if used > limit:
            raise ApiError(403, "Forbidden", "exceeded")

        def encode(revision: int) -> bytes:
            return orjson.dumps({**quota.obj, "used": used, "at": revision})

        return [Side(QUOTAS, "default", "all", encode)]

    return also


async def create_counted(store: Store, name: str, limit: int) -> Entry:
    encode = partial(_encoded, pod(name))
    return await store.commit(PODS, "default", name, expected=0, encode=encode, also=counting(limit))


def _encoded(obj: dict[str, Any], revision: int) -> bytes:
    return orjson.dumps(obj)


async def test_what_counts_objects_changes_with_them_in_one_transaction(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        first = await put(store, {"metadata": {"name": "all"}, "used": 0}, resource=QUOTAS)
        done = await asyncio.gather(
            *(create_counted(store, f"p{n}", limit=5) for n in range(20)), return_exceptions=True
        )
        assert sum(isinstance(result, Entry) for result in done) == 5
        assert [str(result) for result in done if isinstance(result, ApiError)] == ["exceeded"] * 15
        quota = store.get(QUOTAS, "default", "all")
        assert quota is not None and quota.obj["used"] == 5
        assert quota.obj["at"] == quota.revision
    async with opened(tmp_path) as again:
        found = again.get(QUOTAS, "default", "all")
        assert found is not None and found.obj["used"] == 5 and len(await names(again)) == 5
        # Those of one group made one version of it together.
        watcher = await again.watch(QUOTAS, Selection(), first.revision)
        assert len(watcher.take()) < 5


async def test_a_version_that_somebody_waits_for_is_not_lost_in_what_changes_along(store: Store) -> None:
    quota = await put(store, {"metadata": {"name": "all"}, "used": 0}, resource=QUOTAS)
    mine, _, counted = await asyncio.gather(
        put(store, {"metadata": {"name": "all"}, "used": 3}, quota.revision, QUOTAS),
        create_counted(store, "p", limit=5),
        create_counted(store, "q", limit=5),
    )
    assert mine.obj["used"] == 3
    newest = store.get(QUOTAS, "default", "all")
    assert newest is not None and newest.obj["used"] == 5 and mine.revision < newest.revision < counted.revision


async def test_nothing_is_counted_of_a_write_that_fails(store: Store) -> None:
    await put(store, {"metadata": {"name": "all"}, "used": 0}, resource=QUOTAS)
    await put(store, pod("taken"))
    with pytest.raises(Conflict):
        await create_counted(store, "taken", limit=5)

    def broken(_: int) -> bytes:
        raise ValueError("it can't be encoded")

    with pytest.raises(ValueError):
        await store.commit(PODS, "default", "p", expected=0, encode=broken, also=counting(5))
    quota = store.get(QUOTAS, "default", "all")
    assert quota is not None and quota.obj["used"] == 0
