import io

import numpy as np
import pytest
from PIL import Image

from pipeline.errors import InputError, NotFoundError
from pipeline.learning import pictures

RED = (220, 20, 20)


def _saved(path, picture, **options):
    picture.save(path, **options)
    return pictures.read_picture(path)


def _is_red(rgb):
    return np.abs(rgb[4:-4, 4:-4].mean(axis=(0, 1)) - RED).max() < 12


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "CMYK"])
def test_every_colour_mode_becomes_rgb(tmp_path, mode):
    plain = Image.new("RGB", (20, 16), RED)
    suffix = "tif" if mode == "CMYK" else "png"
    rgb = _saved(tmp_path / f"x.{suffix}", plain.convert(mode))

    assert rgb.shape == (16, 20, 3)
    assert rgb.dtype == np.uint8
    assert _is_red(rgb)


def test_cmyk_jpeg(tmp_path):
    assert _is_red(_saved(tmp_path / "x.jpg", Image.new("RGB", (20, 16), RED).convert("CMYK")))


def test_sixteen_bit_grey_is_scaled_not_clipped(tmp_path):
    grey = Image.fromarray(np.full((16, 20), 32768, np.uint16))
    rgb = _saved(tmp_path / "x.png", grey)

    assert np.abs(rgb.astype(int) - 127).max() <= 1


def test_a_picture_turned_by_exif_is_put_upright(tmp_path):
    lying = Image.new("RGB", (40, 16), (0, 0, 0))
    lying.paste(RED, (0, 0, 20, 16))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter clockwise
    rgb = _saved(tmp_path / "x.jpg", lying, exif=exif, quality=95)

    assert rgb.shape == (40, 16, 3)
    assert rgb[:12, :, 0].mean() > 200 > 60 > rgb[-12:, :, 0].mean()


def test_plain_jpeg_agrees_with_pillow(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (32, 32, 3)).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).resize((64, 64)).save(buffer, "JPEG", quality=95)
    (tmp_path / "x.jpg").write_bytes(buffer.getvalue())

    expected = np.asarray(Image.open(buffer).convert("RGB")).astype(int)
    assert np.abs(pictures.read_picture(tmp_path / "x.jpg") - expected).max() <= 4


@pytest.mark.parametrize(
    "content", [b"", b"not a picture", b"\xff\xd8\xff\xe0 truncated", b"\x89PNG\r\n\x1a\n"]
)
def test_what_cannot_be_decoded_is_named(tmp_path, content):
    (tmp_path / "bad.jpg").write_bytes(content)
    with pytest.raises(InputError, match=r"bad\.jpg cannot be decoded"):
        pictures.read_picture(tmp_path / "bad.jpg")


def test_a_truncated_jpeg_is_named(tmp_path):
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8)).save(
        buffer, "JPEG"
    )
    (tmp_path / "half.jpg").write_bytes(buffer.getvalue()[:900])
    with pytest.raises(InputError, match=r"half\.jpg cannot be decoded"):
        pictures.read_picture(tmp_path / "half.jpg")


def test_a_speck_is_refused(tmp_path):
    Image.new("RGB", (1, 1)).save(tmp_path / "dot.png")
    with pytest.raises(InputError, match=r"dot\.png is 1×1"):
        pictures.read_picture(tmp_path / "dot.png")


def test_a_missing_picture_is_named(tmp_path):
    with pytest.raises(NotFoundError, match=r"gone\.png"):
        pictures.read_picture(tmp_path / "gone.png")


def test_fitted_keeps_the_aspect():
    wide = np.full((10, 40, 3), 9, np.uint8)
    shown = pictures.fitted(wide, 20, 20)

    assert shown.shape == (20, 20, 3)
    assert (shown[8:12] == 9).all()
    assert not shown[:7].any()


def test_fractions_of_one_are_not_black(tmp_path):
    Image.fromarray(np.full((16, 16), 0.5, dtype=np.float32)).save(tmp_path / "a.tif")

    assert pictures.read_picture(tmp_path / "a.tif").tolist() == [[[127] * 3] * 16] * 16


def test_a_picture_beyond_what_pillow_opens_is_too_large_not_damaged(tmp_path, monkeypatch):
    Image.new("RGB", (40, 40)).save(tmp_path / "huge.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 700)  # of twice as many none is opened

    with pytest.raises(InputError, match=r"huge\.png has too many pixels\. Shrink it"):
        pictures.read_picture(tmp_path / "huge.png")
