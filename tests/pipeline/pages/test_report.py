"""The report's content, against figures worked out by hand from the workspace in conftest."""

from __future__ import annotations

import datetime as dt
import re
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pytest

from pipeline import schemas, store
from pipeline.errors import NotFoundError
from pipeline.pages import charts, coverage, evidence, parts, report, seen, strips

CHROMIUM = Path("/usr/bin/chromium")


class Text(HTMLParser):
    """A page as a reader sees it, and every address in it."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.addresses: list[str] = []
        self.tags: list[str] = []
        self._silent = 0
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self._silent += tag == "style"
        self.addresses += [v or "" for k, v in attrs if k in ("src", "href", "data", "srcset")]

    def handle_endtag(self, tag: str) -> None:
        self._silent -= tag == "style"
        self.words += [" "] * (tag in ("td", "th", "dt", "dd", "li", "p"))

    def handle_data(self, data: str) -> None:
        if not self._silent:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())


def written(shown: SimpleNamespace, out: Path | None = None) -> tuple[str, str]:
    html = report.write_report(shown.ws, shown.registry, out).read_text(encoding="utf-8")
    return html, Text(html).text


def test_headline_sums_the_counts_and_says_what_was_seen(shown: SimpleNamespace) -> None:
    _, text = written(shown)
    # 12.25 + 9.5 + 6 trucks; 120 + 70 + 0 + 90 of 4 × 120 s, the dark day's schedule among them.
    assert "27.8 trucks were counted by 2 cameras at 2 sites over 3 camera-days" in text
    assert "with 58.3% of the scheduled time seen" in text
    assert "run from 24.5 to 33 trucks" in text
    assert "1 row has no count and adds nothing to the sum" in text


def test_a_renamed_movement_is_a_revision_and_not_an_unseen_day(shown: SimpleNamespace) -> None:
    day, later = shown.days[0], shown.as_of + dt.timedelta(days=1)
    gone = shown.count_row("north", day, **shown.nothing, revision_reason="withdrawn")
    named = shown.count_row("north", day, movement="leaving", truck_count=12.0)
    shown.publish(shown.ws, [gone, named], later)
    _, text = written(shown)
    # Seen as before, 280 of 480 s; the 5th alone has no count: one row, as before.
    assert "12 trucks leaving and 15.5 out were counted" in text
    # A truck that enters and leaves is not two: 11 to 14, and 8 + 5.5 to 12 + 7.
    assert "run from 11 to 14 trucks leaving and from 13.5 to 19 out: the range" in text
    assert "with 58.3% of the scheduled time seen" in text
    assert "1 row has no count and adds nothing to the sum" in text
    assert "1 row marked “insufficient”" in text
    assert "2026-03-07 06:00 UTC north out Tue 3 Mar 2026 12.2 no count withdrawn" in text


def test_a_day_withdrawn_altogether_has_no_count(shown: SimpleNamespace) -> None:
    gone = shown.count_row("south", shown.days[0], **shown.nothing, revision_reason="withdrawn")
    shown.publish(shown.ws, [gone], shown.as_of + dt.timedelta(days=1))
    _, text = written(shown)
    # 12.25 + 9.5 trucks; 190 of 480 s.
    assert "21.8 trucks were counted by 2 cameras at 2 sites over 2 camera-days" in text
    assert "with 39.6% of the scheduled time seen" in text


def test_a_camera_that_left_the_registry_is_told_of(shown: SimpleNamespace) -> None:
    row = shown.count_row("old", shown.days[0], coverage=0.5)
    dark = shown.count_row("old", shown.days[1], **shown.nothing)
    shown.publish(shown.ws, [row, dark], shown.as_of + dt.timedelta(days=1))
    _, text = written(shown)
    # Half of one day and nothing of the other: a quarter on average.
    assert (
        "old is no longer in cameras.toml: its schedule is not known here; as published, 25% of it "
        "was seen on average over 2 days."
    ) in text


def test_quality_flags_are_said_before_the_figures(shown: SimpleNamespace) -> None:
    html, text = written(shown)
    assert "1 row marked “estimated” (north): part of the day was not seen" in text
    assert "1 row marked “insufficient” (north): what was seen, or what the model can tell" in text
    assert html.index("“estimated”") < html.index('<svg class="chart"')
    assert "The crowd is simulated" in text


def test_a_null_count_is_a_gap_and_never_a_zero(shown: SimpleNamespace) -> None:
    html, text = written(shown)
    north = re.search(r"north <span>dc-14.*?</figure>", html, re.DOTALL)
    assert north is not None
    assert north[0].count('class="nocount"') == 1
    assert north[0].count("<circle") == 2
    assert "Thu 5 Mar 2026: no count (insufficient)" in north[0]
    assert "Thu 5 Mar 2026 no count" in text
    # No dot of any chart lies on the axis, which is where zero would be.
    axis = re.search(r'class="axis" x1="[\d.]+" x2="[\d.]+" y1="([\d.]+)"', north[0])
    assert axis is not None
    assert all(float(cy) < float(axis[1]) for cy in re.findall(r'cy="([\d.]+)"', north[0]))


def test_coverage_names_each_gap_and_its_reason(shown: SimpleNamespace) -> None:
    _, text = written(shown)
    assert "Tue 3 Mar 2026 Tue 3 Mar 2026" not in text
    assert "10:00:30–10:01:00 (30 s): no footage" in text
    assert "10:01:10–10:01:30 (20 s): clip broken off: the file ends early" in text
    assert "10:00:30–10:01:00 (30 s): clip set aside: nothing in it <decodes>" in text
    assert "10:00:00–10:02:00 (2 min): no footage" in text
    assert "58.3%" in text
    assert "75%" in text


def test_model_and_label_quality(shown: SimpleNamespace) -> None:
    _, text = written(shown)
    assert "AUC 0.9910 0.9800 – 0.9970" in text
    assert "48 trucks found, 2 missed; 199 empty frames passed over, 1 taken for a truck" in text
    assert "10 frames, 30 annotations (simulated): 4 truck, 5 no truck, 1 unresolved" in text
    assert "On average 90% of a frame’s annotations say its label." in text
    assert "α 0.71" in text
    assert "ann 10 85% 90% 80% 10%" in text
    assert "<bob> 10 50% 90% 80% 10% coin" in text


def test_hostile_names_are_text(shown: SimpleNamespace) -> None:
    html, text = written(shown)
    assert "<script" not in html
    assert "script" not in Text(html).tags
    assert 'dc <script>alert(1)</script> & "co"' in text
    assert "<decodes>" not in html
    assert "<bob>" not in html


def test_nothing_is_asked_of_a_network(shown: SimpleNamespace) -> None:
    html, _ = written(shown)
    for address in Text(html).addresses:
        assert address.startswith(("data:image/jpeg;base64,", "explain/")), address
    assert "http://" not in html
    assert "https://" not in html
    assert "@import" not in html
    assert not re.search(r"url\((?!#)", html)


def test_the_second_report_is_the_same_and_decodes_nothing(
    shown: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = report.write_report(shown.ws, shown.registry)
    first = path.read_bytes()
    kept = sorted((shown.ws.reports / "thumbnails").rglob("*.jpg"))
    assert len(kept) == 6 + 6 + 3

    def refuse(*_: object) -> None:
        raise AssertionError("footage was read again")

    monkeypatch.setattr("pipeline.footage.video.read_at", refuse)
    assert report.write_report(shown.ws, shown.registry).read_bytes() == first


def test_a_thumbnail_shows_the_truck(shown: SimpleNamespace) -> None:
    import numpy as np
    import simplejpeg

    report.write_report(shown.ws, shown.registry)
    folder = shown.ws.reports / "thumbnails" / "north" / "2026-03-03"
    (first,) = folder.glob("160003Z-exit-*.jpg")
    rgb = simplejpeg.decode_jpeg(first.read_bytes())
    # The lorry's box (220, 210, 190) and cab (180, 40, 30) are there; the road is (90, 90, 90).
    distance = np.abs(rgb.astype(int) - (220, 210, 190)).max(axis=2)
    assert (distance < 20).mean() > 0.1
    assert (np.abs(rgb.astype(int) - (180, 40, 30)).max(axis=2) < 40).mean() > 0.02


def test_an_echo_in_the_next_zone_is_no_picture_of_a_truck_that_was_counted() -> None:
    at = dt.datetime(2026, 3, 3, 16, tzinfo=dt.UTC)
    rows = [
        {"entered_at": at, "zone": zone, "peak_p_truck": peak, "trucks": trucks}
        for zone, peak, trucks in (("a", 0.97, 1.0), ("b", 0.99, 0.0), ("c", 0.6, 0.6))
    ]
    assert [p["zone"] for p in report._surest(rows, 2)] == ["a", "c"]


def test_a_view_holds_the_zone_and_stays_within_the_picture() -> None:
    from pipeline.domain import Zone
    from pipeline.pages.thumbnails import SIZE, View

    corner = Zone("corner", ((0.8, 0.8), (1.0, 0.8), (1.0, 1.0), (0.8, 1.0)))
    view = View.of(corner, 640, 360)
    x0, y0, x1, y1 = view.crop.box
    assert x0 >= 0
    assert y0 >= 0
    assert x1 <= 640
    assert y1 <= 360
    assert x0 % 2 == y0 % 2 == 0
    assert (x1 - x0) / (y1 - y0) == pytest.approx(4 / 3, abs=0.03)
    # The zone's far corner is the picture's: the thumbnail's own corner.
    assert view.outline[2] == pytest.approx(SIZE, abs=3)


def test_footage_that_is_gone_leaves_no_picture_and_no_error(shown: SimpleNamespace) -> None:
    for clip in (shown.ws.root / "footage").rglob("*.mp4"):
        clip.unlink()
    html, text = written(shown)
    assert "data:image" not in html
    assert "27.8 trucks" in text


def test_truth_stands_beside_the_count_in_a_demonstration(shown: SimpleNamespace) -> None:
    midnight = [dt.datetime.combine(d, dt.time()) for d in shown.days]
    truth = pa.table(
        {
            "camera_id": ["north", "north", "south"],
            "date": [midnight[0], midnight[1], midnight[0]],
            "truck_count": [12, 13, 6],
            "counted": [True, True, True],
        }
    )
    store.write_table(shown.ws.root / "truth.parquet", truth, truth.schema)
    html, text = written(shown)
    # 31 true, 27.75 counted: −3.25 / 31 = −10.5%. 13 lies outside 8 to 12; the others are held.
    assert "its footage is rendered" in text
    assert "is 31 trucks on the same days (counted −10.5%); 2 of 3 daily intervals hold it" in text
    assert html.count('class="truth"') == 3 + 1  # and once in the key


def test_without_truth_nothing_speaks_of_it(shown: SimpleNamespace) -> None:
    _, text = written(shown)
    assert "ruth" not in text


def test_a_day_whose_clips_are_no_longer_listed_is_not_called_dark(
    shown: SimpleNamespace,
) -> None:
    shown.ws.clips("south", shown.days[0]).unlink()
    _, text = written(shown)
    assert "Tue 3 Mar 2026 75% the clips of this day are no longer listed" in text


def test_movements_are_summed_apart(shown: SimpleNamespace) -> None:
    row = shown.count_row("south", shown.days[0], movement="in", truck_count=40.0)
    shown.publish(shown.ws, [row], shown.as_of + dt.timedelta(hours=1))
    _, text = written(shown)
    assert "40 trucks in and 27.8 out were counted" in text


def test_revisions_and_the_seam_between_models(shown: SimpleNamespace) -> None:
    shown.write_card(shown.ws, "m-0002")
    later = shown.as_of + dt.timedelta(days=1)
    row = shown.count_row(
        "north",
        shown.days[1],
        truck_count=11.0,
        truck_count_lo=10.0,
        truck_count_hi=12.0,
        model_id="m-0002",
        revision_reason="better model",
    )
    shown.publish(shown.ws, [row], later)
    html, text = written(shown)
    assert "2 models made these counts" in text
    assert "Wed 4 Mar 2026: model m-0002 takes over" in html
    assert "2026-03-07 06:00 UTC north out Wed 4 Mar 2026 9.5 11 better model" in text
    assert "29.2 trucks" in text  # 12.25 + 11 + 6 = 29.25


def test_the_splice_factor_stands_beside_the_seam(shown: SimpleNamespace) -> None:
    from pipeline import schemas, vintages

    assert "Where another model took over" not in written(shown)[1]
    later = shown.as_of + dt.timedelta(days=2)
    change = {
        "camera_id": "north",
        "movement": "out",
        "old_model_id": "m-0001",
        "new_model_id": "m-0002",
        "first_date": dt.datetime.combine(shown.days[0], dt.time()),
        "last_date": dt.datetime.combine(shown.days[1], dt.time()),
        "as_of": later,
        "days": 2,
        "factor": 1.0824,
        "factor_lo": 0.9911,
        "factor_hi": 1.1737,
    }
    table = store.table_of([change], schemas.MODEL_CHANGES)
    path = vintages.MODEL_CHANGES.vintage(shown.ws, later)
    store.write_table(path, table, schemas.MODEL_CHANGES)
    row = shown.count_row("north", shown.days[1], model_id="m-0002")
    shown.write_card(shown.ws, "m-0002")
    shown.publish(shown.ws, [row], later)
    _, text = written(shown)
    assert "out m-0001 m-0002 2: Tue 3 Mar 2026 to Wed 4 Mar 2026 1.082 0.991 – 1.174" in text


def test_nothing_published_is_one_clear_error(tmp_path: Path, shown: SimpleNamespace) -> None:
    empty = store.Workspace(tmp_path / "empty")
    with pytest.raises(NotFoundError, match="nothing is published"):
        report.write_report(empty, shown.registry)
    assert not empty.reports.exists()


def test_a_year_of_many_cameras_stays_under_five_megabytes(shown: SimpleNamespace) -> None:
    from pipeline import cameras

    zone = {"name": "exit", "movement": "out", "polygon": [[0, 0], [1, 0], [1, 1]]}
    base = {"site": "s", "timezone": "UTC", "source": "x/*.mp4", "zones": [zone]}
    names = [f"cam-{n:03d}" for n in range(60)]
    registry = cameras.parse({"camera": [{"id": name, **base} for name in names]})
    first = dt.date(2025, 1, 1)
    rows = [
        shown.count_row(
            name, first + dt.timedelta(days=i), passages_seen=0, truck_count=12.0 + i % 7
        )
        for name in names
        for i in range(365)
    ]
    shown.publish(shown.ws, rows, shown.as_of + dt.timedelta(days=2))
    path = report.write_report(shown.ws, registry)
    assert 100_000 < path.stat().st_size <= 5_000_000
    text = Text(path.read_text(encoding="utf-8")).text
    assert "of 21,904" in text  # 60 × 365 + 4 rows in all


def test_links_lead_to_receipts_from_wherever_the_report_lies(
    shown: SimpleNamespace, tmp_path: Path
) -> None:
    page = seen.receipt_path(shown.ws, "north", shown.days[0])
    store.write_bytes(page, b"<p>receipts</p>")
    html, _ = written(shown)
    assert 'href="explain/north/2026-03-03.html"' in html
    assert "2026-03-04.html" not in html
    out = tmp_path / "elsewhere" / "r.html"
    html, _ = written(shown, out)
    address = next(a for a in Text(html).addresses if a.endswith("2026-03-03.html"))
    assert (out.parent / address).resolve() == page.resolve()


def test_a_long_series_breaks_where_there_is_no_count() -> None:
    first = dt.date(2026, 1, 1)
    points = [
        charts.Point(
            first + dt.timedelta(days=i),
            None if i == 30 else 10.0,
            None if i == 30 else 9.0,
            None if i == 30 else 11.0,
        )
        for i in range(60)
    ]
    svg = str(charts.count_chart(points, "t"))
    assert svg.count("<polyline") == 2
    assert svg.count("<polygon") == 2
    assert svg.count('class="nocount"') == 1
    lines = re.findall(r'<polyline class="line" points="([^"]*)"', svg)
    assert [len(line.split()) for line in lines] == [30, 29]


def test_a_day_alone_in_a_long_series_shows_its_interval() -> None:
    first = dt.date(2026, 1, 1)
    lone = charts.Point(first, 10.0, 5.0, 20.0)
    rest = [charts.Point(first + dt.timedelta(days=i), 10.0, 9.0, 11.0) for i in range(2, 60)]
    svg = str(charts.count_chart([lone, *rest], "t"))
    assert svg.count("<polygon") == svg.count("<polyline") == 1
    assert "<title>Thu 1 Jan 2026: 10 trucks, 95% interval 5 to 20</title>" in svg
    # The axis of 20 is 164 px high over y = 176: 5 lies at 176 − 41, 20 at the top, 12.
    (ends,) = re.findall(r'class="interval"[^>]* y1="([\d.]+)" y2="([\d.]+)"', svg)
    assert ends == ("135", "12")


def test_a_long_series_still_marks_days_that_are_not_ok() -> None:
    first = dt.date(2026, 1, 1)
    quality = ["drift" if i == 3 else "ok" for i in range(60)]
    points = [
        charts.Point(first + dt.timedelta(days=i), 10.0, 9.0, 11.0, q)
        for i, q in enumerate(quality)
    ]
    svg = str(charts.count_chart(points, "t"))
    assert svg.count("dot hollow") == 1
    assert "Sun 4 Jan 2026: 10 trucks (drift)" in svg


def test_a_calendar_puts_monday_on_top_and_weeks_side_by_side() -> None:
    monday = dt.date(2026, 3, 2)
    shares = [(monday + dt.timedelta(days=i), s) for i, s in enumerate([1.0, 0.0, 0.6])]
    shares.append((monday + dt.timedelta(days=8), 0.95))
    svg = str(strips.heat_map(shares, "t"))
    boxes = re.findall(r'<rect class="heat h(\d)" width="10" height="10" x="(\d+)" y="(\d+)"', svg)
    assert boxes == [("4", "30", "16"), ("0", "30", "27"), ("2", "30", "38"), ("3", "41", "27")]


def test_only_gaps_give_a_chart_without_a_dot() -> None:
    svg = str(charts.count_chart([charts.Point(dt.date(2026, 1, 1), None, None, None)], "t"))
    assert "<circle" not in svg
    assert svg.count('class="nocount"') == 1


def test_a_broken_clip_explains_only_its_own_stretch(shown: SimpleNamespace) -> None:
    camera = shown.registry.camera("north")
    rows = store.read_table(shown.ws.clips("north", shown.days[1]), schemas.CLIPS).to_pylist()
    cover = coverage.of_day(camera, shown.days[1], rows)
    ten = shown.start_of(shown.days[1]).timestamp()
    assert [(g.start_s - ten, g.end_s - ten, g.kind) for g in cover.gaps] == [
        (30.0, 60.0, "missing"),
        (70.0, 90.0, "partial"),
    ]
    assert cover.exposure_s == 70.0
    assert cover.share == 70 / 120


def test_seams_under_a_second_are_summed_not_listed(shown: SimpleNamespace) -> None:
    camera = shown.registry.camera("north")
    short = [{"start_s": 0.0, "end_s": 29.5}]
    rows = [shown.clip_row("north", shown.days[0], n, covered=short) for n in range(4)]
    cover = coverage.of_day(camera, shown.days[0], rows)
    assert cover.gaps == ()
    assert cover.seams_s == pytest.approx(2.0)


def test_figures_come_from_counts_where_the_card_has_no_others(shown: SimpleNamespace) -> None:
    path = shown.ws.model("m-0001") / "card.json"
    card = store.read_json(path)
    del card["metrics"]
    store.write_json(path, card)
    told = evidence.model(shown.ws, "m-0001")
    assert told is not None
    assert [f.name for f in told.figures] == ["Accuracy", "Sensitivity", "Specificity"]
    sensitivity = told.figures[1]
    # Wilson's interval of 48 of 50: 0.96, 0.8654 to 0.9890.
    assert sensitivity.value == 0.96
    assert sensitivity.lo == pytest.approx(0.8654, abs=1e-4)
    assert sensitivity.hi == pytest.approx(0.9890, abs=1e-4)


@pytest.mark.parametrize(
    ("value", "words"),
    [(0.0, "0"), (None, "no count"), (0.04, "0"), (99.97, "100"), (12.25, "12.2"), (9.97, "10")],
)
def test_counts_are_worded_for_people(value: float | None, words: str) -> None:
    assert parts.trucks(value) == words


@pytest.mark.skipif(not CHROMIUM.is_file(), reason=f"no browser at {CHROMIUM}")
def test_it_opens_in_a_browser_on_a_desk_and_on_a_phone(
    shown: SimpleNamespace, tmp_path: Path
) -> None:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = report.write_report(shown.ws, shown.registry)
    with sync_api.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1200, "height": 900})
        asked: list[str] = []
        page.on("request", lambda r: asked.append(r.url))
        page.goto(path.as_uri())
        assert page.locator("h1").inner_text() == "Truck counts, 3–5 March 2026"
        assert page.locator("svg.chart[role=img]").count() == 2
        assert page.screenshot(path=str(tmp_path / "report.png"), full_page=True)
        page.set_viewport_size({"width": 375, "height": 800})
        wide = page.evaluate("document.documentElement.scrollWidth")
        browser.close()
    assert wide <= 375
    assert all(url.startswith(("file:", "data:")) for url in asked)
