"""Odd and bad pictures through ``train`` and ``evaluate`` from end to end.

What can be read is read, whatever its mode, depth, turn or size; what cannot is refused in one line
that names the file, before anything is trained or written.
"""

import numpy as np
import pytest
from PIL import Image

from pipeline.errors import InputError
from pipeline.learning import checkpoints, dataset
from pipeline.learning.evaluate import evaluate_images
from pipeline.learning.options import TrainOptions
from pipeline.learning.train import train_images
from pipeline.store import Workspace

OPTIONS = TrainOptions(arch="residual", epochs=1, batch_size=16, size=32, engine="torch")


def _photograph(seed: int, truck: bool) -> Image.Image:
    rng = np.random.default_rng(seed)
    grain = rng.integers(30, 120, (48, 64, 3)).astype(np.uint8)
    if truck:
        grain[10:30, 20:50] = 230
    return Image.fromarray(grain)


def _saved_oddly(folder, number: int, truck: bool) -> str:
    """Save a picture in the number's way; return its name."""
    picture, name = _photograph(number, truck), f"{number}.png"
    grey = np.asarray(picture.convert("L"))
    turned = Image.Exif()
    turned[0x0112] = 6
    way = number % 8
    if way == 0:
        picture.save(folder / name)
    elif way == 1:
        picture.convert("CMYK").save(folder / (name := f"{number}.jpg"), quality=95)
    elif way == 2:
        Image.fromarray(grey.astype(np.uint16) * 257).save(folder / name)
    elif way == 3:
        picture.convert("RGBA").save(folder / name)
    elif way == 4:
        picture.rotate(90, expand=True).save(folder / (name := f"{number}.jpg"), exif=turned)
    elif way == 5:
        picture.convert("P").save(folder / name)
    elif way == 6:
        picture.convert("LA").save(folder / name)
    else:
        picture.resize((200, 150)).convert("L").save(folder / (name := f"{number}.jpg"))
    return name


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    """Forty pictures in eight ways of saving, one row given twice; and a model taught on them."""
    folder = tmp_path_factory.mktemp("odd")
    rows = []
    for i in range(40):
        truck = (i // 8 + i) % 2 == 1
        rows.append(f"{_saved_oddly(folder, i, truck)},{'truck' if truck else 'no_truck'}")
    lines = ["file,label", *rows, rows[0]]
    (folder / "labels.csv").write_text("\n".join(lines), encoding="utf-8")
    ws = Workspace(tmp_path_factory.mktemp("ws"))
    return ws, folder, train_images(ws, folder, folder / "labels.csv", OPTIONS)


def test_every_way_of_saving_is_taught_and_judged(odd):
    ws, folder, model_id = odd

    assert checkpoints.load_card(ws, model_id)["labels"] == {"n": 40, "truck": 20}
    assert evaluate_images(ws, model_id, folder, folder / "labels.csv")["n"] == 40


def test_a_turned_picture_is_upright_and_a_deep_one_not_clipped(odd):
    _, folder, _ = odd
    found = dataset.from_files(folder, folder / "labels.csv", (48, 64))
    at = {name: i for i, name in enumerate(found.names)}
    plain = np.asarray(_photograph(20, False).convert("L"), dtype=float)
    deep = np.asarray(_photograph(10, True).convert("L"), dtype=float)

    turned = found.pixels[at["20.jpg"]].mean(axis=0)
    assert np.corrcoef(turned.ravel(), plain.ravel())[0, 1] > 0.7  # JPEG costs some of the grain
    assert np.abs(found.pixels[at["10.png"]][0] - deep).max() <= 1


BAD = {
    "torn.jpg": b"\xff\xd8\xff\xe0 torn",
    "text.png": b"no picture at all",
    "empty.jpg": b"",
    # A texture of games whose colours are of no kind: its decoder raises an error of its own.
    "texture.blp": b"BLP2"
    + bytes([76, 0, 0, 0, 1, 0, 0, 0, 30, 0, 0, 0, 40, 0, 0, 0])
    + bytes(2400),
}


@pytest.mark.parametrize("name", [*BAD, "speck.png", "gone.png"])
def test_one_bad_picture_is_named_by_both_commands(odd, name, tmp_path):
    ws, folder, model_id = odd
    for path in folder.glob("*.*"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    if name in BAD:
        (tmp_path / name).write_bytes(BAD[name])
    elif name == "speck.png":
        Image.new("RGB", (1, 1)).save(tmp_path / name)
    with (tmp_path / "labels.csv").open("a", encoding="utf-8") as labels:
        labels.write(f"\n{name},truck\n")
    fresh = Workspace(tmp_path / "fresh")

    for attempt in (
        lambda: train_images(fresh, tmp_path, tmp_path / "labels.csv", OPTIONS),
        lambda: evaluate_images(ws, model_id, tmp_path, tmp_path / "labels.csv"),
    ):
        with pytest.raises(InputError, match=name.replace(".", r"\.")) as caught:
            attempt()
        assert "\n" not in str(caught.value)
    assert not fresh.root.exists()


def test_one_class_only_is_refused_by_both_commands(odd, tmp_path):
    ws, folder, model_id = odd
    text = (folder / "labels.csv").read_text(encoding="utf-8").replace(",no_truck", ",truck")
    only = tmp_path / "only.csv"
    only.write_text(text, encoding="utf-8")

    with pytest.raises(InputError, match=r"only\.csv holds 'truck' only"):
        train_images(Workspace(tmp_path / "fresh"), folder, only, OPTIONS)
    with pytest.raises(InputError, match=r"only\.csv holds 'truck' only"):
        evaluate_images(ws, model_id, folder, only)
