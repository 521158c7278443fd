"""What a run shows on Prefect's pages: counts with intervals, what is missing and why, a picture.

Artifacts are for people; every number in them comes from the workspace's tables, which stay the
only truth. Keys are stable per time zone or flow, so a page shows the history of each.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any
from uuid import UUID

from flows._prefect import artifacts
from pipeline.settings import read_settings

Row = Mapping[str, Any]
MOST_ROWS = 500
MOST_DRAWN = 60


def show_days(
    key: str, span: str, counts: Sequence[Row], missing: Sequence[Row], root: Path
) -> None:
    """Write a run's artifacts: ``<key>-counts``, ``-missing``, ``-summary`` and ``-picture``."""
    artifacts.create_table_artifact(
        key=f"{key}-counts",
        table=[count_line(row) for row in counts[-MOST_ROWS:]],
        description=f"Truck passages of {span}, 95% intervals (at most {MOST_ROWS} rows)",
    )
    artifacts.create_table_artifact(
        key=f"{key}-missing",
        table=[dict(row) for row in missing[-MOST_ROWS:]],
        description=f"What is missing of {span}, and why",
    )
    artifacts.create_markdown_artifact(
        key=f"{key}-summary", markdown=summary(span, counts, missing, root)
    )
    artifacts.create_image_artifact(
        image_url=as_data_url(picture(counts[-MOST_DRAWN:])),
        key=f"{key}-picture",
        description=f"Counts of {span} with intervals (at most {MOST_DRAWN})",
    )


def start_progress(key: str, total: int) -> UUID:
    """Start a bar of camera-days done; return what :func:`show_progress` wants."""
    created: Any = artifacts.create_progress_artifact(
        progress=0.0, key=key, description=f"of {total} camera-day(s)"
    )
    return UUID(str(created))


def show_progress(artifact: UUID, share: float) -> None:
    """Move the bar to ``share`` (0 to 1)."""
    artifacts.update_progress_artifact(artifact_id=artifact, progress=100.0 * share)


def count_line(row: Row) -> dict[str, Any]:
    """Return a daily row as people read it; a count that could not be made stays empty."""
    return {
        "camera": row["camera_id"],
        "movement": row["movement"],
        "date": row["date"],
        "trucks": _rounded(row["truck_count"]),
        "from": _rounded(row["truck_count_lo"]),
        "to": _rounded(row["truck_count_hi"]),
        "coverage": _rounded(row["coverage"], 3),
        "quality": row["quality"],
    }


def _rounded(value: float | None, digits: int = 1) -> float | None:
    return None if value is None else round(value, digits)


def summary(span: str, counts: Sequence[Row], missing: Sequence[Row], root: Path) -> str:
    """Word a run as Markdown, with links to the report and the published table.

    >>> print(summary("2026-03-02", [], [], Path("/w")).splitlines()[0])
    # 2026-03-02: 0 counts, nothing missing
    """
    told = f"{len(missing)} missing" if missing else "nothing missing"
    lines = [f"# {span}: {len(counts)} counts, {told}", ""]
    lines += [
        f"* **{row['camera']}** {row['day']}: {row['what']}: {row['why']}" for row in missing[:100]
    ]
    shown = read_settings().reports_url or (root / "reports").resolve().as_uri()
    table = root / "features/daily_truck_counts.parquet"
    lines += ["", f"[report]({shown.rstrip('/')}/report.html), table `{table}`"]
    return "\n".join(lines)


def picture(counts: Sequence[Row]) -> str:
    """Draw counts with their intervals as SVG, a row per camera and movement."""
    made = [row for row in counts if row["truck_count"] is not None]
    most = max([1.0, *(row["truck_count_hi"] for row in made)])
    rows = []
    for i, row in enumerate(made):
        y = 24 + 22 * i
        lo, mid, hi = (
            200 + 380 * row[k] / most for k in ("truck_count_lo", "truck_count", "truck_count_hi")
        )
        name = escape(f"{row['camera_id']} {row['movement']}")
        rows.append(
            f'<text x="4" y="{y + 4}">{name}</text>'
            f'<line x1="{lo:.1f}" x2="{hi:.1f}" y1="{y}" y2="{y}" stroke="#268" stroke-width="3"/>'
            f'<circle cx="{mid:.1f}" cy="{y}" r="5" fill="#268"/>'
            f'<text x="600" y="{y + 4}">{row["truck_count"]:.0f}</text>'
        )
    size = f'width="660" height="{40 + 22 * len(made)}" font-family="sans-serif" font-size="13"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}>{"".join(rows)}</svg>'


def as_data_url(svg: str) -> str:
    """Return an SVG as a ``data:`` address, so that the picture needs no file server."""
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()
