import io

import numpy as np
import pytest
from PIL import Image

from pipeline import splits
from pipeline.errors import InputError
from pipeline.learning import dataset, duplicates


def _photograph(seed: int, side: int = 96) -> np.ndarray:
    """Blotches of light, as photographs are made of."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(20, 235, (8, 8, 3)).astype(np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC))


def _hashes(pictures):
    return np.array([duplicates.hash_of(one) for one in pictures], dtype=np.uint64)


def test_a_copy_scaled_lightened_and_recompressed_is_found():
    one = _photograph(0)
    small = Image.fromarray(one).resize((64, 64)).resize((96, 96))
    buffer = io.BytesIO()
    Image.fromarray(np.clip(np.asarray(small) * 0.9 + 20, 0, 255).astype(np.uint8)).save(
        buffer, "JPEG", quality=60
    )
    copy = np.asarray(Image.open(buffer))
    pixels = [one, _photograph(1), copy, _photograph(2)]

    assert duplicates.near(_hashes(pixels)) == [(0, 2)]


def test_a_hundred_different_pictures_are_different():
    pixels = [*(_photograph(seed) for seed in range(100))]

    assert duplicates.near(_hashes(pixels)) == []


def test_flat_pictures_are_not_compared():
    pixels = [*(np.full((32, 32, 3), level, np.uint8) for level in (0, 80, 160))]

    assert duplicates.near(_hashes(pixels)) == []


def test_the_same_flat_picture_twice_is_one():
    flat = np.full((3, 3, 16, 16), 12, np.uint8)
    flat[1] = 13

    assert duplicates.equal(flat) == [(0, 2)]


def test_pairs_are_found_across_blocks_of_the_comparison():
    pattern = np.random.default_rng(0).integers(0, 2**63, 1200, dtype=np.uint64)
    pattern[1100] = pattern[3] ^ np.uint64(1)

    assert duplicates.near(pattern) == [(3, 1100)]


def test_copies_share_a_group_and_so_a_part_of_the_split(tmp_path):
    lines = ["file,label,group"]
    for i in range(60):
        Image.fromarray(_photograph(i % 50)).save(tmp_path / f"{i}.png")  # the last ten are copies
        lines.append(f"{i}.png,{'truck' if i % 2 else 'no_truck'},g{i}")
    (tmp_path / "labels.csv").write_text("\n".join(lines), encoding="utf-8")

    found = dataset.from_files(tmp_path, tmp_path / "labels.csv")

    assert found.groups[50:] == found.groups[:10]
    for seed in range(5):
        parts = splits.split(found.groups, found.truth.tolist(), seed)
        assert parts[50:] == parts[:10]


@pytest.mark.slow
def test_real_photographs_leak_no_copy_between_parts(shared_data):
    folder = shared_data / "images"
    found = dataset.from_files(folder / "jpeg", folder / "labels.csv", 48)  # as they are taught
    pairs = duplicates.near(duplicates.hashes(found.pixels))
    parts = splits.split(found.groups, found.truth.tolist())

    assert len(pairs) > 5  # there are some: nine of them under different names of the source
    assert [(i, j) for i, j in pairs if parts[i] != parts[j]] == []


def test_copies_of_long_pictures_are_found_beside_their_bars(tmp_path):
    lines = ["file,label"]
    for i in range(12):  # four times as wide as high; the last six are copies
        one = Image.fromarray(_photograph(i % 6)).resize((384, 96))
        one.save(tmp_path / f"{i}.jpg", quality=95 if i < 6 else 70)
        lines.append(f"{i}.jpg,{'truck' if i % 2 else 'no_truck'}")
    (tmp_path / "labels.csv").write_text("\n".join(lines), encoding="utf-8")
    found = dataset.from_files(tmp_path, tmp_path / "labels.csv", 48)
    assert found.groups[6:] == found.groups[:6]
    assert len(set(found.groups)) == 6


def test_one_file_spelled_in_two_ways_is_one_file(tmp_path):
    for i in range(4):
        Image.fromarray(_photograph(i)).save(tmp_path / f"{i}.png")
    table = tmp_path / "labels.csv"
    rows = ["file,label,group", "0.png,truck,a", "1.png,no_truck,b", "2.png,truck,c"]
    for last, said in (
        ("./0.png,no_truck,a", "line 5: '0.png' is labelled 'truck' and 'no_truck'. Keep one"),
        ("./0.png,truck,z", "line 5: '0.png' is of group 'a' and 'z'. Keep one"),
    ):
        table.write_text("\n".join([*rows, last]), encoding="utf-8")
        with pytest.raises(InputError, match=said):
            dataset.from_files(tmp_path, table)
    table.write_text("\n".join([*rows, "./0.png,truck,a"]), encoding="utf-8")
    assert dataset.from_files(tmp_path, table).names == ("0.png", "1.png", "2.png")
