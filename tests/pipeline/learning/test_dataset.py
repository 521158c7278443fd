import datetime as dt

import numpy as np
import pytest
from PIL import Image

from pipeline import schemas, store
from pipeline.errors import InputError, NotFoundError
from pipeline.learning import dataset
from pipeline.store import Workspace

BOTH = "truck/a.png,truck\nno_truck/b.png,no_truck\n"
T0 = dt.datetime(2026, 3, 2, 12, tzinfo=dt.UTC)


def _picture(path, colour, size=(20, 20)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)


@pytest.fixture
def loose(tmp_path):
    _picture(tmp_path / "truck" / "a.png", (200, 0, 0))
    _picture(tmp_path / "no_truck" / "b.png", (0, 0, 200))
    return tmp_path


def _labels(folder, text):
    path = folder / "labels.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_pictures_in_sub_folders_become_one_array(loose):
    found = dataset.from_files(
        loose, _labels(loose, "file,label,group\ntruck/a.png,truck,g1\nno_truck/b.png,no_truck,\n")
    )

    assert found.pixels.shape == (2, 3, 20, 20)
    assert found.pixels[0, :, 5, 5].tolist() == [200, 0, 0]
    assert found.truth.tolist() == [1, 0]
    assert found.groups == ("g1", "no_truck/b.png")


def test_photographs_are_told_from_thumbnails_by_their_usual_size(loose):
    _picture(loose / "1.png", (9, 9, 9), (65, 20))
    _picture(loose / "2.png", (9, 9, 9), (70, 30))
    _picture(loose / "3.png", (9, 9, 9), (80, 40))
    one_large = _labels(loose, f"file,label\n1.png,truck\n{BOTH}")
    assert not dataset.are_photographs(loose, one_large)
    assert dataset.from_files(loose, one_large).pixels.shape == (3, 3, 20, 20)  # 65 made to fit

    most_large = _labels(loose, f"file,label\n{BOTH}1.png,truck\n2.png,truck\n3.png,truck\n")
    assert dataset.are_photographs(loose, most_large)
    assert dataset.from_files(loose, most_large).pixels.shape == (5, 3, 20, 65)
    with pytest.raises(InputError, match="holds 'nothing' only"):
        dataset.are_photographs(loose, _labels(loose, "file,label\n"))


def test_a_row_given_twice_counts_once_and_cant_tell_is_left_out(loose):
    _picture(loose / "c.png", (0, 0, 0))
    text = f"file,label\ntruck/a.png,truck\n{BOTH}c.png,cant_tell\n"

    assert len(dataset.from_files(loose, _labels(loose, text))) == 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"file,label\n{BOTH}gone.png,truck\n", r"names 'gone\.png', which is not in"),
        (f"file,label\n{BOTH}truck/a.png,no_truck\n", r"line 4: 'truck/a\.png' is labelled"),
        (f"file,label\n{BOTH}x.png,lorry\n", r"line 4: label 'lorry' of 'x\.png'"),
        ("file,label\ntruck/a.png,truck\n", r"labels\.csv holds 'truck' only"),
        ("file,label\n", "holds 'nothing' only"),
        ("picture,label\na,truck\n", r"has no column 'file'"),
        ("", r"has no column 'file'"),
        ("file,label,Label\na,truck,no_truck\n", r"has the column 'label' twice"),
        (f"file,label\n{BOTH}../x.png,truck\n", r"'\.\./x\.png' leaves the picture folder"),
        (f"file,label\n{BOTH},truck\n", "line 4: no file is named"),
        (f"file,label\n{BOTH}a,b.png,truck\n", r"line 4: more fields .* \(truck\)\. Put what"),
    ],
)
def test_bad_label_files_are_refused_in_one_line(loose, text, said):
    with pytest.raises(InputError, match=said) as caught:
        dataset.from_files(loose, _labels(loose, text))
    assert "\n" not in str(caught.value)


def test_a_spreadsheets_way_of_writing_changes_nothing(loose):
    """A byte order mark, Windows' line ends, capitals and spaces in the first line, stray commas.

    A column "Group" that went unread would let one place teach and judge.
    """
    _picture(loose / "c, d.png", (9, 9, 9))
    rows = ["file,label,group", "truck/a.png,truck,g", "no_truck/b.png,no_truck,"]
    rows.append('"c, d.png",truck,g')
    plain = dataset.from_files(loose, _labels(loose, "\n".join(rows)))
    head = "\ufeffFile, Label ,Group"
    written = dataset.from_files(loose, _labels(loose, ",\r\n".join([head, *rows[1:], ""])))

    assert written.label_set_id == plain.label_set_id
    assert written.groups[0] == written.groups[2] != written.groups[1]


def test_an_unreadable_picture_is_named(loose):
    (loose / "bad.png").write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"bad\.png cannot be decoded"):
        dataset.from_files(loose, _labels(loose, f"file,label\n{BOTH}bad.png,truck\n"))


def test_a_missing_label_file_is_named(tmp_path):
    with pytest.raises(NotFoundError, match=r"no such file: .*none\.csv"):
        dataset.from_files(tmp_path, tmp_path / "none.csv")


def test_mixed_sizes_are_put_into_one_shape(loose):
    _picture(loose / "wide.png", (9, 9, 9), (200, 100))
    found = dataset.from_files(loose, _labels(loose, f"file,label\nwide.png,truck\n{BOTH}"), 128)

    assert found.pixels.shape == (3, 3, 128, 128)


@pytest.fixture
def campaign(tmp_path):
    ws = Workspace(tmp_path)
    folder = ws.campaign_frames("first")
    frames, labels = [], []
    for i in range(6):
        _picture(folder / f"{i}.jpg", (250, 250, 250), (48, 64))
        _picture(folder / f"{i}.bg.jpg", (50, 50, 50), (48, 64))
        frames.append(
            {
                "frame_id": str(i),
                "camera_id": "gate",
                "zone": "out",
                "clip_id": "c",
                "captured_at": T0 + dt.timedelta(minutes=i),
                "offset_s": 60.0 * i,
                "path": f"{i}.jpg",
                "background_path": f"{i}.bg.jpg",
                "batch": "b",
                "why_chosen": "random",
                "weight": 2.0,
            }
        )
        label = [None, "truck", "no_truck"][i % 3]
        labels.append(
            {
                "frame_id": str(i),
                "label": label,
                "p_truck": {None: 0.5, "truck": 0.9, "no_truck": 0.2}[label],
                "n_annotations": 3,
                "agreement": 1.0,
                "method": "majority",
            }
        )
    store.write_table(
        folder / "frames.parquet", store.table_of(frames, schemas.FRAMES), schemas.FRAMES
    )
    store.write_table(
        ws.campaign_labels("first") / "labels.parquet",
        store.table_of(labels, schemas.LABELS),
        schemas.LABELS,
    )
    return ws


def test_a_campaign_gives_crops_backgrounds_and_soft_labels(campaign):
    found = dataset.from_campaigns(campaign, ["first"])

    assert found.pixels.shape == (4, 6, 64, 48)  # unresolved ones are left out
    assert abs(int(found.pixels[0, 0, 9, 9]) - 250) <= 1
    assert abs(int(found.pixels[0, 3, 9, 9]) - 50) <= 1
    assert found.truth.tolist() == [1, 0, 1, 0]
    assert found.p.round(2).tolist() == pytest.approx([0.9, 0.2, 0.9, 0.2])
    assert found.weight.tolist() == [2.0] * 4


def test_equal_labels_have_an_equal_id(campaign):
    one = dataset.from_campaigns(campaign, ["first"])

    assert one.label_set_id == dataset.from_campaigns(campaign, ["first"]).label_set_id
    assert (
        one.label_set_id
        != dataset.from_campaigns(campaign, ["first"], background=False).label_set_id
    )


def test_campaigns_that_are_not_there_are_named(campaign):
    with pytest.raises(NotFoundError, match="no such campaign: 'second'"):
        dataset.from_campaigns(campaign, ["second"])
    (campaign.campaign_labels("first") / "labels.parquet").unlink()
    with pytest.raises(NotFoundError, match="campaign 'first' has no labels"):
        dataset.from_campaigns(campaign, ["first"])


def test_pixels_are_fitted_to_a_networks_shape():
    from pipeline.learning.models import NetSpec

    pixels = np.full((2, 6, 20, 10), 7, np.uint8)

    assert dataset.fit_spec(pixels, NetSpec(3, 10, 10)).shape == (2, 3, 10, 10)
    assert (dataset.fit_spec(pixels, NetSpec(6, 10, 10)) == 7).all()
