"""What a sensor makes of a drawn scene: the frame as the camera would have sent it.

uint8[h * 3 / 2, w] planar YUV 4:2:0, the encoder's own layout: lamps, rain, exposure, noise and the
burnt-in clock touch brightness only, which is a third of the work of touching colours.
"""

from __future__ import annotations

import datetime as dt
import math
from functools import lru_cache
from zoneinfo import ZoneInfo

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.scene.light import Light
from pipeline.scene.sites import Site

Pixels = NDArray[np.uint8]

_MARGIN_PX = 96
_NOISE_SD = 32.0


class Sensor:
    """Turns drawn scenes into frames, in order; holds the state of the automatic exposure."""

    def __init__(self, site: Site, light: Light, seed: int, empty: Pixels) -> None:
        """``seed`` decides noise, rain and drift; ``empty`` is what exposure settles on."""
        self._site, self._light = site, light
        self._rng = np.random.default_rng(seed)
        self._zone = ZoneInfo(site.timezone)
        self._typical = max(8.0, float(empty[::8, ::8].mean()))
        self._gain = 1.0
        self._drift = self._rng.uniform(0, 2 * math.pi, 2)
        self._label: tuple[str, Pixels] = ("", np.zeros((0, 0), np.uint8))

    def develop(self, bgr: Pixels, glare: Pixels | None, instant_s: float) -> Pixels:
        """Return the frame as uint8[h * 3 / 2, w] planar YUV 4:2:0 (BT.601, limited range)."""
        yuv: Pixels = np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2YUV_I420), dtype=np.uint8)
        height, width = bgr.shape[:2]
        luma = yuv[:height]
        if glare is not None:
            cv2.add(luma, glare, dst=luma)
        if self._light.rain > 0.1:
            cv2.add(luma, self._rain(height, width), dst=luma)
        noise = self._patch(_noise_bank(height, width), height, width)
        spread = self._light.noise / _NOISE_SD
        gain = self._exposure(bgr, instant_s)
        cv2.addWeighted(luma, gain, noise, spread, 16 * (1 - gain) - 128 * spread, dst=luma)
        self._stamp(yuv, instant_s)
        return yuv

    def _exposure(self, bgr: Pixels, instant_s: float) -> float:
        """Follow the scene's brightness slowly and in part, with a slow drift of the light."""
        wanted = (self._typical / max(4.0, float(bgr[::16, ::16].mean()))) ** 0.5
        self._gain += 0.06 * (min(1.2, max(0.8, wanted)) - self._gain)
        slow = math.sin(instant_s / 19 + self._drift[0]) + math.sin(instant_s / 7 + self._drift[1])
        return self._gain * (1.0 + 0.02 * slow)

    def _patch(self, bank: Pixels, height: int, width: int) -> Pixels:
        down, across = self._rng.integers(_MARGIN_PX, size=2).tolist()
        return bank[down : down + height, across : across + width]

    def _rain(self, height: int, width: int) -> Pixels:
        banks = _rain_banks(height, width, round(self._light.rain * 4))
        return self._patch(banks[int(self._rng.integers(len(banks)))], height, width)

    def _stamp(self, yuv: Pixels, instant_s: float) -> None:
        """Burn in the camera's name and its local time."""
        local = dt.datetime.fromtimestamp(math.floor(instant_s + 1e-6), self._zone)
        text = f"{self._site.id}  {local:%Y-%m-%d %H:%M:%S}"
        if text != self._label[0]:
            box = np.full((18, 8 * len(text) + 12), 20, np.uint8)
            cv2.putText(box, text, (6, 13), cv2.FONT_HERSHEY_SIMPLEX, 0.42, 225, 1, cv2.LINE_AA)
            self._label = (text, box)
        label = self._label[1]
        yuv[6 : 6 + label.shape[0], 6 : 6 + label.shape[1]] = label


@lru_cache(maxsize=2)
def _noise_bank(height: int, width: int) -> Pixels:
    """Return noise around 128, larger than a frame so that each frame takes another part."""
    rng = np.random.default_rng(5)
    shape = (height + _MARGIN_PX, width + _MARGIN_PX)
    noise = rng.normal(0, 1, shape).astype(np.float32)
    noise += 0.7 * cv2.GaussianBlur(rng.normal(0, 2.2, shape).astype(np.float32), (0, 0), 0.8)
    return np.clip(128 + noise / np.std(noise) * _NOISE_SD, 0, 255).astype(np.uint8)


@lru_cache(maxsize=4)
def _rain_banks(height: int, width: int, amount: int) -> tuple[Pixels, ...]:
    """Return sheets of falling streaks as brightness to add."""
    rng = np.random.default_rng(17)
    sheets = []
    for _ in range(5):
        sheet = np.zeros((height + _MARGIN_PX, width + _MARGIN_PX), np.uint8)
        for _ in range(90 * (1 + amount)):
            x, y = rng.integers(sheet.shape[1]), rng.integers(sheet.shape[0])
            length = rng.integers(6, 16)
            end = (int(x - length * 0.18), int(y + length))
            cv2.line(sheet, (int(x), int(y)), end, int(rng.integers(10, 34)), 1, cv2.LINE_AA)
        sheets.append(sheet)
    return tuple(sheets)
