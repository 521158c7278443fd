"""Any picture file → ``uint8[h, w, 3]`` RGB, upright, or one line that names what is wrong with it.

Ordinary JPEGs go through simplejpeg (about twice as fast as Pillow); whatever is unusual (turned by
EXIF, CMYK, 16-bit, grey, palette, transparent, PNG, …) through Pillow.
"""

from __future__ import annotations

import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from pipeline.errors import InputError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

SMALLEST_PX = 8
LARGEST_PIXELS = 60_000_000
UNLIKE = 18  # grey levels off the background: beyond noise and compression


def read_picture(path: Path) -> NDArray[np.uint8]:
    """Read one picture as ``uint8[h, w, 3]`` RGB, turned as its EXIF says.

    Raises:
        NotFoundError: there is no such file.
        InputError: it cannot be decoded, or is under 8 pixels a side, or over 60 megapixels.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise NotFoundError(f"no such picture: {path}.") from None
    except OSError as error:
        raise InputError(f"picture {path} cannot be read: {error.strerror}.") from error
    rgb = _plain_jpeg(content)
    if rgb is None:
        rgb = _by_pillow(path, content)
    height, width = rgb.shape[:2]
    if min(height, width) < SMALLEST_PX:
        raise InputError(
            f"picture {path} is {width}×{height}.", f"Give {SMALLEST_PX} pixels a side at least."
        )
    return rgb


_Made = TypeVar("_Made")


def read_all(
    paths: Sequence[Path], make: Callable[[NDArray[np.uint8]], _Made], workers: int = 2
) -> list[_Made]:
    """Read pictures in order, each passed through ``make`` (decoders release the lock)."""
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(lambda path: make(read_picture(path)), paths))


def fitted(rgb: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """Scale a picture into ``height`` by ``width``, aspect kept, the rest black."""
    import cv2

    have_h, have_w = rgb.shape[:2]
    if (have_w, have_h) == (width, height):
        return rgb
    scale = min(width / have_w, height / have_h)
    w, h = max(1, round(have_w * scale)), max(1, round(have_h * scale))
    shown = scaled(rgb, w, h)
    if (w, h) == (width, height):
        return shown
    left, top = (width - w) // 2, (height - h) // 2
    return np.asarray(
        cv2.copyMakeBorder(
            shown, top, height - h - top, left, width - w - left, cv2.BORDER_CONSTANT
        ),
        dtype=np.uint8,
    )


def scaled(rgb: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """Stretch a picture to ``height`` by ``width``, averaging where it shrinks."""
    import cv2

    if rgb.shape[:2] == (height, width):
        return rgb
    shrinks = rgb.shape[0] >= height and rgb.shape[1] >= width
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(rgb, (width, height), interpolation=how), dtype=np.uint8)


def _plain_jpeg(content: bytes) -> NDArray[np.uint8] | None:
    """Decode a three-component JPEG that nothing asks to turn; None for everything else."""
    import simplejpeg

    if content[:3] != b"\xff\xd8\xff" or b"Exif\x00" in content[:65536]:
        return None
    try:
        height, width, space, _ = simplejpeg.decode_jpeg_header(content)
        if space not in ("YCbCr", "RGB") or height * width > LARGEST_PIXELS:
            return None
        return np.asarray(simplejpeg.decode_jpeg(content, "RGB"), dtype=np.uint8)
    except ValueError:
        return None


def _by_pillow(path: Path, content: bytes) -> NDArray[np.uint8]:
    import io

    from PIL import Image, ImageOps

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(content)) as picture:
                if picture.width * picture.height > LARGEST_PIXELS:
                    raise InputError(
                        f"picture {path} is {picture.width}×{picture.height}.", "Shrink it."
                    )
                return _eight_bit(ImageOps.exif_transpose(picture))
    except (InputError, MemoryError):
        raise
    except Image.DecompressionBombError:
        raise InputError(f"picture {path} has too many pixels.", "Shrink it.") from None
    except Exception:  # decoders of two dozen formats raise whatever a damaged file runs them into
        raise InputError(
            f"picture {path} cannot be decoded.", "Remove it from the label file, or restore it."
        ) from None


def _eight_bit(picture: object) -> NDArray[np.uint8]:
    """Return RGB bytes of a Pillow image of any mode.

    16-bit greys are scaled, not clipped, and so are fractions of 1.
    """
    from PIL import Image

    assert isinstance(picture, Image.Image)
    if picture.mode.startswith("I") or picture.mode == "F":
        grey = np.asarray(picture, dtype=np.float64)
        highest = grey.max(initial=0.0)
        top = 65535.0 if highest > 255 else 255.0
        if picture.mode == "F" and highest <= 1.0:
            top = 1.0
        bytes_ = np.clip(grey * (255.0 / top), 0, 255).astype(np.uint8)
        return np.repeat(bytes_[..., None], 3, axis=2)
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        ground = Image.new("RGBA", picture.size, (0, 0, 0, 255))
        picture = Image.alpha_composite(ground, picture)
    return np.array(picture.convert("RGB"), dtype=np.uint8)


def vehicle_share(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the share of each crop ``uint8[n, 6, h, w]`` that differs from its background.

    Zeros where no background is at hand (``uint8[n, 3, h, w]``).

    >>> half = np.zeros((1, 6, 2, 2), dtype=np.uint8)
    >>> half[0, :3, 0] = 200
    >>> vehicle_share(half).tolist()
    [0.5]
    """
    share = np.zeros(len(pixels))
    if pixels.shape[1] < 6:
        return share
    for first in range(0, len(pixels), 1000):
        part = pixels[first : first + 1000].astype(np.int16)
        unlike = np.abs(part[:, :3] - part[:, 3:6]).mean(axis=1) > UNLIKE
        share[first : first + 1000] = unlike.mean(axis=(1, 2))
    return share
