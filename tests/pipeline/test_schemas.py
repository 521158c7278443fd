"""Each column has a type, a unit in its name and a meaning; the dictionary shows them all."""

from __future__ import annotations

import inspect

import pyarrow as pa
import pytest

from pipeline import schemas
from pipeline.counting import records

ALL = [*schemas.TABLES, schemas.COUNTS, schemas.HOURLY]

# The design's tables: key, then the columns beside it.
DESIGN = {
    "clips": "camera_id clip_id uri started_at duration_s frames_expected frames_read width_px "
    "height_px codec status reason",
    "frames": "frame_id camera_id zone clip_id captured_at offset_s path batch why_chosen",
    "annotations": "frame_id worker label annotated_at seconds_spent source",
    "labels": "frame_id label p_truck n_annotations agreement method",
    "scores": "camera_id zone captured_at p_truck model_id",
    "passages": "camera_id zone entered_at exited_at peak_p_truck model_id clip_id offset_s",
    "daily_truck_counts": "camera_id movement date as_of site truck_count truck_count_lo "
    "truck_count_hi method passages_seen exposure_s coverage frames_scored prevalence quality "
    "model_id label_set_id tradable_from",
}


@pytest.mark.parametrize(("title", "columns"), DESIGN.items())
def test_the_tables_of_the_design_have_their_columns(title, columns):
    schema = next(s for s in schemas.TABLES if schemas.title(s) == title)
    assert set(columns.split()) <= set(schema.names)


@pytest.mark.parametrize("schema", ALL, ids=schemas.title)
def test_units_are_in_the_names_and_meanings_beside_them(schema):
    assert len(set(schema.names)) == len(schema.names)
    for field in schema:
        assert field.metadata[b"description"], field.name
        if field.name.endswith("_at") or field.name in ("as_of", "tradable_from"):
            assert field.type == pa.timestamp("us", tz="UTC"), field.name
        if field.name.endswith("_s"):
            assert field.type == pa.float64(), field.name
        if field.name.endswith("_px"):
            assert pa.types.is_integer(field.type), field.name
        if field.name == "date":
            assert field.type == pa.timestamp("us")


@pytest.mark.parametrize("schema", ALL, ids=schemas.title)
def test_keys_are_columns_that_hold_no_null(schema):
    for name in schema.metadata[b"key"].decode().split(", "):
        assert not schema.field(name).nullable


def test_the_flags_of_passages_are_the_ones_that_counting_gives():
    told = schemas.PASSAGES.field("flag").metadata[b"description"].decode()
    for flag in ("parked", "merged", "cut", "weak", "straddle"):  # as records.Passage lists them
        assert flag in told
        assert f"``{flag}``" in inspect.getsource(records.Passage)
    assert "merged, edge" not in told


def test_a_count_may_be_null_and_its_coverage_may_not():
    for name in ("truck_count", "truck_count_lo", "truck_count_hi"):
        assert schemas.DAILY.field(name).nullable
    for name in ("coverage", "exposure_s", "quality", "as_of"):
        assert not schemas.DAILY.field(name).nullable


def test_published_tables_are_counts_and_their_publication():
    assert set(schemas.DAILY.names) - set(schemas.COUNTS.names) == {
        "as_of",
        "tradable_from",
        "revision_reason",
    }
    assert set(schemas.HOURLY_PUBLISHED.names) - set(schemas.HOURLY.names) == {"as_of"}


def test_the_dictionary_has_a_row_per_column():
    text = schemas.dictionary()
    for schema in schemas.TABLES:
        assert f"#### `{schemas.title(schema)}`" in text
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    assert len(rows) == sum(len(schema) for schema in schemas.TABLES)
    assert "| `truck_count` | double, may be null |" in text
