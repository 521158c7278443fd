"""Pictures to learn from that are quick to make."""

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(scope="module")
def blocks(tmp_path_factory):
    """160 grey pictures with their labels.csv; every other has a bright block, a truck."""
    folder = tmp_path_factory.mktemp("blocks")
    rng = np.random.default_rng(0)
    rows = ["file,label,group"]
    for i in range(160):
        picture = rng.integers(40, 90, (24, 24, 3)).astype(np.uint8)
        if i % 2:
            y, x = rng.integers(0, 14, 2)
            picture[y : y + 10, x : x + 10] = 200
        Image.fromarray(picture).save(folder / f"{i}.png")
        rows.append(f"{i}.png,{'truck' if i % 2 else 'no_truck'},g{i // 2}")
    (folder / "labels.csv").write_text("\n".join(rows), encoding="utf-8")
    return folder
