"""A playlist that says when its pictures were taken is believed, unless its clock must be wrong."""

from __future__ import annotations

import datetime as dt
import time
from typing import Any

import pytest

from pipeline.footage.live import hls
from pipeline.footage.live.addresses import Door, read


@pytest.mark.parametrize(
    ("behind_s", "zone", "believed"),
    [(7.25, "+00:00", True), (7.25, "-06:00", True), (3600.0, "+00:00", False), (7.0, "", False)],
)
def test_when_the_first_piece_was_taken(
    servers: Any, behind_s: float, zone: str, believed: bool
) -> None:
    """The time is told once, two pieces before the one that recording begins with."""
    looks = 0

    def answer(path: str) -> tuple[int, dict[str, str], bytes]:
        nonlocal looks
        if "m3u8" not in path:
            return 200, {}, b"\x47" * 188
        looks += 1
        away = dt.timezone(dt.timedelta(hours=int(zone[:3] or 0)))
        told = dt.datetime.fromtimestamp(begun, away).replace(tzinfo=None).isoformat()
        lines = ["#EXTM3U", "#EXT-X-TARGETDURATION:2", f"#EXT-X-PROGRAM-DATE-TIME:{told}{zone}"]
        lines += ["#EXTINF:2.0,\na.ts"] * (3 if looks == 1 else 4)
        return 200, {}, "\n".join([*lines, ""]).encode()

    begun = time.time() - behind_s
    server = servers.http(answer)
    feed = hls.Feed(Door(True, read_s=5.0), read(server.url("live.m3u8")))
    server.close()
    assert feed.next_number == 3
    # It begins with the third piece, 4 s after the first; two pieces, 4 s, are left from there.
    seems = feed.listing.looked_at - 4.0
    assert feed.started_at == pytest.approx(begun + 4.0 if believed else seems, abs=1e-3)
