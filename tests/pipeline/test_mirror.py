"""An object store by URL: here ``file://``, which takes the same way through pyarrow."""

from __future__ import annotations

import pandas as pd
import pytest

from pipeline import mirror
from pipeline.errors import InputError, NotFoundError, StoreError
from pipeline.publish import read_daily_counts, read_hourly_counts
from pipeline.store import Workspace


@pytest.fixture
def url(tmp_path) -> str:
    return (tmp_path / "bucket" / "ws").as_uri()


def test_what_is_pushed_reads_the_same(counted, url):
    counted.count("2026-03-01", 10)
    counted.publish("2026-03-10T00:00:00Z")
    assert mirror.push(counted.ws, url) == 1
    counted.count("2026-03-01", 11)
    counted.publish("2026-03-11T00:00:00Z")
    counted.count("2026-03-02", 12)
    counted.publish("2026-03-12T00:00:00Z")
    assert mirror.push(counted.ws, url) == 2
    assert mirror.push(counted.ws, url) == 0
    for as_of in (None, "2026-03-10T00:00:00Z", "2026-03-11T00:00:00Z"):
        for read in (read_daily_counts, read_hourly_counts):
            pd.testing.assert_frame_equal(read(url, as_of), read(counted.ws.root, as_of))


def test_a_mistyped_root_is_said_and_left_as_it_is(tmp_path, url):
    with pytest.raises(NotFoundError, match=r"nothing is published in .*nowhere"):
        mirror.push(Workspace(tmp_path / "nowhere"), url)
    assert list(tmp_path.iterdir()) == []


def test_two_histories_are_not_mixed(counted, url, tmp_path, counted_workspace):
    counted.count("2026-03-01", 10)
    counted.publish("2026-03-10T00:00:00Z")
    mirror.push(counted.ws, url)
    other = counted_workspace(tmp_path / "other")
    other.count("2026-03-01", 99)
    other.publish("2026-03-11T00:00:00Z")
    with pytest.raises(StoreError, match=r"2026-03-10T000000\.000000Z"):
        mirror.push(other.ws, url)
    assert read_daily_counts(url)["truck_count"].tolist() == [10.0]


def test_an_empty_or_unknown_store_is_said(counted, url, tmp_path):
    with pytest.raises(NotFoundError, match="nothing is published"):
        read_daily_counts(url)
    with pytest.raises(InputError, match="gopher"):
        read_daily_counts("gopher://there")
    counted.count("2026-03-01", 10)
    counted.publish("2026-03-10T00:00:00Z")
    with pytest.raises(InputError, match="gopher"):
        mirror.push(counted.ws, "gopher://there")
    (tmp_path / "bucket").write_bytes(b"a file where a folder should be")
    with pytest.raises(StoreError, match="cannot be used"):
        mirror.push(counted.ws, url)
