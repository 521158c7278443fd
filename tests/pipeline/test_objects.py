"""Addresses of object stores, patterns of keys, and what a store answers."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from pipeline import objects
from pipeline.errors import InputError, StoreAwayError, StoreError


@pytest.mark.parametrize(
    ("place", "stored"),
    [
        ("s3://bucket/a/*.mp4", True),
        ("file:///footage/*.mp4", False),
        ("abfs://box@account.dfs.core.windows.net/a/*", True),
        ("rtsp://gate/stream", False),
        ("https://gate/a.m3u8", False),
        ("footage/gate/*.mp4", False),
        ("s3", False),
    ],
)
def test_which_places_are_object_stores(place: str, stored: bool) -> None:
    assert objects.is_stored(place) is stored


@pytest.mark.parametrize(
    "url",
    [
        "s3://AKIA:hunter2@bucket/a",
        "s3://AKIA:hunter2/ter2@bucket/a",
        "s3://hunter2@bucket/a",
        "s3://bucket/a?endpoint_override=http://u:hunter2@host:9000",
        "abfs://box@account.dfs.core.windows.net/a?client_secret=hunter2",
        "abfs://box:hunter2@account.dfs.core.windows.net/a",
        "http://u:hunter2@host/bucket",
    ],
)
def test_a_secret_in_an_address_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(InputError) as refused:
        objects.check(url)
    assert "hunter2" not in str(refused.value)


def test_a_container_is_no_credential() -> None:
    objects.check("abfs://box@account.dfs.core.windows.net/a")  # there the container's name


@pytest.mark.parametrize(
    ("pattern", "folder", "rest"),
    [
        ("s3://b/gate/*.mp4", "s3://b/gate", ["*.mp4"]),
        ("s3://b/*.mp4", "s3://b", ["*.mp4"]),
        ("s3://b/gate/**/a[0-9].mp4?region=x", "s3://b/gate?region=x", ["**", "a[0-9].mp4"]),
        ("s3://b/gate/one.mp4", "s3://b/gate", ["one.mp4"]),
    ],
)
def test_an_address_is_split_at_its_first_wildcard(
    pattern: str, folder: str, rest: list[str]
) -> None:
    assert objects.split(pattern) == (folder, rest)


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("s3://b", "s3://b names no files"),
        ("s3://b*/a.mp4", "names no files"),
        ("s3://b/gate/", "names no files"),
        ("s3://b/a/../c/*.mp4", "names no files"),
        ("s3://b/a b/*.mp4", "%20"),
        ("s3://b/tür/*.mp4", "%20"),
        ("s3://b/a#1/*.mp4", "%20"),
        ("s3://b/*?colour=red", "unknown option 'colour'"),
        ("gopher://b/*", "gopher:// is no object store"),
    ],
)
def test_an_address_that_names_no_files_is_refused(pattern: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        objects.split(pattern)


KEYS = ("a.mp4", "a.txt", "x/b.mp4", "x/y/c.mp4", ".h.mp4", ".x/d.mp4", "x/.y/e.mp4", "A.MP4")


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("*.mp4", {"a.mp4"}),
        ("*", {"a.mp4", "a.txt", "A.MP4"}),
        ("*/*.mp4", {"x/b.mp4"}),
        ("**/*.mp4", {"a.mp4", "x/b.mp4", "x/y/c.mp4"}),
        ("**", {"a.mp4", "a.txt", "A.MP4", "x/b.mp4", "x/y/c.mp4"}),
        ("**/y/*", {"x/y/c.mp4"}),
        ("x/**/*.mp4", {"x/b.mp4", "x/y/c.mp4"}),
        ("[a-b].mp4", {"a.mp4"}),
        (".x/*", {".x/d.mp4"}),
    ],
)
def test_keys_match_as_files_do_in_a_shell(pattern: str, found: set[str], tmp_path: Path) -> None:
    """Worked out by hand, and beside Python's own glob over the same names as files."""
    import glob

    assert {key for key in KEYS if objects._matches(key.split("/"), pattern.split("/"))} == found
    for key in KEYS:
        (tmp_path / key).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / key).touch()
    files = glob.glob(pattern, root_dir=tmp_path, recursive=True)
    assert {name for name in files if (tmp_path / name).is_file()} == found


def test_an_object_is_copied_whole_or_not_at_all(s3, tmp_path: Path) -> None:
    content = bytes(range(256)) * 40_000  # 10 MB: more than one chunk
    source, target = tmp_path / "a", tmp_path / "b" / "c"
    source.write_bytes(content)
    with objects.reached(s3("x")) as (remote, base):
        objects.put(remote, source, f"{base}/y/a")
        assert {name: info.size for name, info in objects.listed(remote, base).items()} == {
            "y/a": len(content)
        }
        with pytest.raises(StoreAwayError, match="ended after 10240000 of 10240001 bytes"):
            objects.get(remote, f"{base}/y/a", len(content) + 1, target)
        stopped = threading.Event()
        stopped.set()
        with pytest.raises(StoreAwayError, match="ended after 0 of"):
            objects.get(remote, f"{base}/y/a", len(content), target, stop=stopped)
        with pytest.raises(StoreAwayError, match="cannot be used"):
            objects.get(remote, f"{base}/nowhere", 1, target)
        assert list(target.parent.iterdir()) == []
        objects.get(remote, f"{base}/y/a", len(content), target)
    assert target.read_bytes() == content


def test_a_disk_that_cannot_be_written_is_not_the_store_s_fault(s3, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a file")
    with objects.reached(s3("x")) as (remote, base):
        objects.put(remote, tmp_path / "a", f"{base}/a")
        with pytest.raises(StoreError, match="cannot write") as told:
            objects.get(remote, f"{base}/a", 6, tmp_path / "a" / "below")
    assert not isinstance(told.value, StoreAwayError)


def test_a_bucket_that_is_not_there_is_said_and_an_empty_folder_is_none(s3) -> None:
    with objects.reached(s3("nothing/here")) as (remote, base):
        assert objects.listed(remote, base) == {}
    missing = s3("x").replace("s3://", "s3://not-")
    with (
        pytest.raises(StoreAwayError, match=r"s3://not-bucket-\d+/x.* cannot be used.*BUCKET"),
        objects.reached(missing) as (remote, base),
    ):
        objects.listed(remote, base)


def test_on_a_disk_nobody_sees_half_a_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"new")
    (tmp_path / "to").mkdir()
    (tmp_path / "to" / "b").write_bytes(b"old")
    (tmp_path / "to" / ".b.part").mkdir()  # in the way of what is half written
    with (
        pytest.raises(StoreAwayError),
        objects.reached((tmp_path / "to").as_uri()) as (remote, base),
    ):
        objects.put(remote, tmp_path / "a", f"{base}/b")
    assert (tmp_path / "to" / "b").read_bytes() == b"old"


def test_another_server_may_be_named_by_the_environment(
    s3, s3_server: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As Amazon's own tools know it; what the address names goes first."""
    (tmp_path / "a").write_bytes(b"content")
    with objects.reached(s3("x")) as (remote, base):
        objects.put(remote, tmp_path / "a", f"{base}/a")
    plain = s3("x").partition("?")[0]
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{s3_server}")
    with objects.reached(plain) as (remote, base):
        assert list(objects.listed(remote, base)) == ["a"]
    for wrong in ("127.0.0.1:9", "http://[::1", "http://"):  # else it would go to Amazon
        monkeypatch.setenv("AWS_ENDPOINT_URL", wrong)
        with pytest.raises(InputError, match="AWS_ENDPOINT_URL is no"), objects.reached(plain):
            pass
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with objects.reached(s3("x")) as (remote, base):
        assert list(objects.listed(remote, base)) == ["a"]
