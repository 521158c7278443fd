"""The registry: what is right is read, what is wrong is named with its remedy."""

from __future__ import annotations

import datetime as dt

import pytest

from pipeline import cameras
from pipeline.domain import Zone
from pipeline.errors import ConfigError, InputError, NotFoundError, TruckCounterError

TEXT = """
[[camera]]
id = "north-gate"
site = "dc-14"
timezone = "America/Chicago"
source = "footage/north-gate/*.mp4"
clip_start = "%Y-%m-%dT%H%M%S%z"
valid_from = 2026-01-01
sample_hz = 2.5
schedule = [["00:00", "06:30"], ["06:30", "24:00"]]
exchange = "XNYS"
zones = [
  { name = "left", movement = "out", polygon = [[0.1, 0.45], [0.5, 0.45], [0.5, 0.8], [0.1, 0.8]] },
  { name = "right", polygon = [[0.5, 0.45], [0.9, 0.45], [0.9, 0.8], [0.5, 0.8]] },
]
"""


def _load(tmp_path, text: str) -> cameras.Registry:
    (tmp_path / "cameras.toml").write_text(text, encoding="utf-8")
    return cameras.load(tmp_path / "cameras.toml")


def test_the_example_of_the_design_is_read(tmp_path):
    camera = _load(tmp_path, TEXT).camera("north-gate")
    assert camera.site == "dc-14"
    assert camera.timezone == "America/Chicago"
    assert camera.valid_from == dt.date(2026, 1, 1)
    assert camera.sample_hz == 2.5
    assert camera.schedule == ((0, 390), (390, 1440))
    assert camera.exchange == "XNYS"
    assert camera.zones[0] == Zone(
        "left", ((0.1, 0.45), (0.5, 0.45), (0.5, 0.8), (0.1, 0.8)), "out"
    )
    assert camera.zones[1].movement == "all"
    assert not camera.allow_private_addresses


@pytest.mark.parametrize("pattern", ["%Y%m%d", "%Y-%m-%d_%H", "%Y%m%d%I%M%S%p"])
def test_a_file_a_day_and_a_file_an_hour_tell_their_start(tmp_path, pattern):
    text = TEXT.replace("%Y-%m-%dT%H%M%S%z", pattern)
    assert _load(tmp_path, text).camera("north-gate").clip_start == pattern


def test_a_mark_before_the_text_is_no_fault(tmp_path):
    assert _load(tmp_path, "\ufeff" + TEXT.lstrip()).ids == ["north-gate"]


def test_a_password_is_never_shown(tmp_path):
    text = TEXT.replace("[[camera]]", "[camera]").replace(
        "footage/north-gate/*.mp4", "rtsp://me:hunter2@cam.example/live"
    )
    with pytest.raises(ConfigError) as caught:
        _load(tmp_path, text)
    assert "hunter2" not in str(caught.value)


def test_what_is_optional_has_a_default(tmp_path):
    kept = [line for line in TEXT.splitlines() if line.split(" = ")[0] not in cameras._OPTIONAL]
    camera = _load(tmp_path, "\n".join(kept)).camera("north-gate")
    assert camera.schedule == ((0, 1440),)
    assert camera.sample_hz == 5.0
    assert camera.exchange is None
    assert camera.clip_start == "%Y-%m-%dT%H%M%S%z"


def test_a_re_aimed_camera_keeps_its_past(tmp_path):
    later = TEXT.replace("2026-01-01", "2026-03-01").replace('"left"', '"near"')
    registry = _load(tmp_path, later + TEXT)
    assert registry.ids == ["north-gate"]
    day = dt.date(2026, 2, 28)
    assert registry.camera("north-gate", day).zones[0].name == "left"
    assert registry.camera("north-gate", day + dt.timedelta(days=1)).zones[0].name == "near"
    assert registry.camera("north-gate").zones[0].name == "near"
    assert registry.camera("north-gate", dt.date(2020, 1, 1)).zones[0].name == "left"


def test_unknown_cameras_are_named_with_the_known_ones(tmp_path):
    registry = _load(tmp_path, TEXT)
    with pytest.raises(NotFoundError, match=r"'south'.*north-gate"):
        registry.camera("south")
    with pytest.raises(NotFoundError, match="'south'"):
        registry.chosen(["north-gate", "south"])
    assert registry.chosen([]) == ["north-gate"]
    assert registry.chosen(["north-gate"]) == ["north-gate"]


# What is replaced in the example, by what, and what the error must say.
WRONG = [
    ('"America/Chicago"', '"America/Chicag"', ["north-gate", "timezone", "America/Chicag", "IANA"]),
    ('"America/Chicago"', "6", ["north-gate", "timezone", "6", "text"]),
    ('site = "dc-14"', 'site = ""', ["north-gate", "site", "''", "text"]),
    ('site = "dc-14"', "", ["north-gate", "site", "missing", "Add"]),
    ('site = "dc-14"', 'sight = "dc-14"', ["north-gate", "sight", "Known keys"]),
    ('id = "north-gate"', "", ["number 1", "id", "missing"]),
    ('id = "north-gate"', 'id = "north gate"', ["north gate", "camera", "Use letters"]),
    ('id = "north-gate"', 'id = "../etc"', ["../etc", "Use letters"]),
    ("sample_hz = 2.5", "sample_hz = 0", ["north-gate", "sample_hz", "0", "0.0001 to 60"]),
    ("sample_hz = 2.5", "sample_hz = nan", ["north-gate", "sample_hz", "nan", "0.0001 to 60"]),
    ("sample_hz = 2.5", "sample_hz = true", ["north-gate", "sample_hz", "True"]),
    ("sample_hz = 2.5", 'sample_hz = "5"', ["north-gate", "sample_hz", "'5'"]),
    ("= 2026-01-01", '= "2026-01-01"', ["north-gate", "valid_from", "'2026-01-01'", "bare date"]),
    ("= 2026-01-01", "= 2026-01-01T00:00:00Z", ["north-gate", "valid_from", "bare date"]),
    ('"24:00"', '"24:30"', ["north-gate", "schedule", "24:30", "24:00"]),
    ('"24:00"', '"06:00"', ["north-gate", "schedule", "06:00", "in order"]),
    ('["06:30", "24:00"]', '["06:00", "24:00"]', ["north-gate", "schedule", "not overlapping"]),
    ('["06:30", "24:00"]', '"06:30-24:00"', ["north-gate", "schedule", "06:30-24:00"]),
    ('"XNYS"', '"NYSEX"', ["north-gate", "exchange", "NYSEX", "MIC"]),
    ('"%Y-%m-%dT%H%M%S%z"', '"yyyy"', ["north-gate", "clip_start", "yyyy", "strptime"]),
    ('"%Y-%m-%dT%H%M%S%z"', '"%Y-%Q"', ["north-gate", "clip_start", "%Y-%Q", "strptime"]),
    ('"%Y-%m-%dT%H%M%S%z"', '"%Y%m%d%Y"', ["north-gate", "clip_start", "%Y%m%d%Y", "strptime"]),
    *(
        ('"%Y-%m-%dT%H%M%S%z"', f'"{wrong}"', ["north-gate", "clip_start", "of 24 hours"])
        for wrong in ("%Y%m%d%I%M%S", "%H%M%S", "%m%d%H%M%S", "%Y/%m/%dT%H%M%S", "%Y%m%dT%H%M%S%Z")
    ),
    ('"footage/north-gate/*.mp4"', '"a\\u0000b"', ["north-gate", "source", "glob pattern"]),
    ("[0.1, 0.45]", "[-0.1, 0.45]", ["north-gate", "left", "polygon", "-0.1", "0-1", "Divide"]),
    ("[0.1, 0.45]", "[0.1, 450]", ["north-gate", "left", "polygon", "450", "0-1", "Divide"]),
    ("[0.1, 0.45]", "[0.1, nan]", ["north-gate", "left", "polygon", "nan", "0-1"]),
    ("[0.1, 0.45]", "[0.1]", ["north-gate", "left", "[0.1]", "[x, y]"]),
    ("[0.1, 0.45]", '["a", 0.45]', ["north-gate", "left", "'a'", "[x, y]"]),
    (
        "[[0.1, 0.45], [0.5, 0.45], [0.5, 0.8], [0.1, 0.8]]",
        "[[0.1, 0.45], [0.5, 0.45], [0.9, 0.45]]",
        ["north-gate", "left", "encloses nothing"],
    ),
    (
        "[[0.1, 0.45], [0.5, 0.45], [0.5, 0.8], [0.1, 0.8]]",
        "[[0.1, 0.45]]",
        ["north-gate", "left", "polygon", "three"],
    ),
    (
        "[[0.1, 0.45], [0.5, 0.45], [0.5, 0.8], [0.1, 0.8]]",
        "[[0.1, 0.45], [0.5, 0.8], [0.5, 0.45], [0.1, 0.8]]",
        ["north-gate", "left", "polygon", "crosses itself"],
    ),
    ('name = "right"', 'name = "left"', ["north-gate", "'left'", "its own name"]),
    ('name = "right"', 'name = "r/l"', ["north-gate", "r/l", "zone", "Use letters"]),
    ('name = "right"', 'nam = "right"', ["north-gate", "right", "name"]),
    ('movement = "out"', "movement = 1", ["north-gate", "left", "movement", "1"]),
    ('movement = "out"', 'move = "out"', ["north-gate", "left", "move", "Known"]),
]


@pytest.mark.parametrize(("right", "wrong", "said"), WRONG, ids=[w[1][:40] for w in WRONG])
def test_what_is_wrong_is_named(tmp_path, right, wrong, said):
    assert right in TEXT
    with pytest.raises(TruckCounterError) as caught:
        _load(tmp_path, TEXT.replace(right, wrong, 1))
    assert isinstance(caught.value, ConfigError | InputError)
    for words in said:
        assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no [[camera]]"),
        ("camera = 3", "Write [[camera]]"),
        ("camera = [3]", "no list of tables"),
        ("[[camara]]\nid = 1", "'camara'"),
        ("[[camera]\n", "not TOML"),
        (TEXT.replace("zones = [", "zones = 3\nx = ["), "unknown key 'x'"),
        (TEXT + TEXT, "two entries with valid_from 2026-01-01"),
        (
            TEXT + TEXT.replace("2026-01-01", "2026-02-01").replace("America/Chicago", "UTC"),
            "timezone is 'America/Chicago' in one entry, 'UTC' in another",
        ),
    ],
)
def test_files_that_are_no_registry(tmp_path, text, said):
    with pytest.raises(ConfigError) as caught:
        _load(tmp_path, text)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_text(tmp_path):
    (tmp_path / "cameras.toml").write_bytes(b"\xff\xfe[[camera]]")
    with pytest.raises(ConfigError, match="not TOML"):
        cameras.load(tmp_path / "cameras.toml")


def test_a_missing_registry_is_named_with_a_remedy(tmp_path):
    with pytest.raises(NotFoundError, match=r"cameras\.toml.*--root"):
        cameras.load(tmp_path / "cameras.toml")


def test_a_folder_is_no_registry(tmp_path):
    (tmp_path / "cameras.toml").mkdir()
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        cameras.load(tmp_path / "cameras.toml")
