"""A day by local hour: bars, gaps and names, and their place on the page."""

from __future__ import annotations

import datetime as dt
import re
from types import SimpleNamespace

from pipeline import schemas, store
from pipeline.pages import receipts
from pipeline.pages.hours import Hour, hour_chart, labels

MIDNIGHT = dt.datetime(2026, 10, 24, 22, tzinfo=dt.UTC)  # 25 October 2026 in Berlin: 25 hours


def hour(i: int, count: float | None = 2.0) -> Hour:
    around = (None, None) if count is None else (count - 1, count + 1)
    return Hour(MIDNIGHT + dt.timedelta(hours=i), count, *around)


def test_an_hour_that_comes_twice_is_told_apart() -> None:
    names = labels([hour(i) for i in range(25)], "Europe/Berlin")
    assert names[:5] == ["00:00", "01:00", "02:00 (+0200)", "02:00 (+0100)", "03:00"]
    assert names[-1] == "23:00"


def test_bars_stand_on_the_axis_and_a_missing_hour_is_no_zero() -> None:
    svg = hour_chart([hour(0), hour(1, None), hour(2, 0.0)], "Europe/Berlin", "Trucks")
    # 3 trucks are the ceiling: floor 146, top 12, so 2 trucks are 134 · 2/3 = 89.3 high.
    heights = re.findall(r'<rect class="hour" y="([\d.]+)" height="([\d.]+)"', svg)
    assert heights == [("56.7", "89.3"), ("146", "0")]
    assert svg.count('class="nocount"') == 1
    assert "01:00: no count" in svg
    assert "00:00: 2 trucks, 95% interval 1 to 3" in svg
    assert "2 trucks in 2 hours." in svg


def test_the_page_of_a_day_shows_its_hours(shown: SimpleNamespace) -> None:
    day = shown.days[0]
    path = shown.ws.counts_hourly("north", day, shown.model)
    rows = [
        {
            "camera_id": "north",
            "movement": "out",
            "date": dt.datetime.combine(day, dt.time()),
            "hour_start_at": shown.start_of(day) + dt.timedelta(hours=i),
            "site": "dc-1",
            "model_id": shown.model,
            "truck_count": 12.25,
            "truck_count_lo": 11.0,
            "truck_count_hi": 14.0,
            "exposure_s": 120.0,
            "coverage": 1.0 if i == 0 else None,
        }
        for i in range(2)
    ]
    table = store.table_of(rows, schemas.HOURLY)
    store.write_table(path, table, schemas.HOURLY)
    html = receipts.write_explain(shown.ws, shown.registry, "north", day).read_text("utf-8")
    assert "By the hour" in html
    assert "10:00: 12.2 trucks, 95% interval 11 to 14" in html
    assert html.count('class="hour"') == 1  # the second hour was not scheduled
    path.unlink()
    html = receipts.write_explain(shown.ws, shown.registry, "north", day).read_text("utf-8")
    assert "By the hour" not in html
