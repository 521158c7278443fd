"""Changes to pictures that never change the answer, on whole batches, on any device.

``Augment`` strengths say what the world may do to a fixed camera: clouds, dusk, rain, headlights,
a dirty lens, compression, a pole that sways. A crop and its background pass through the same
geometry and nearly the same light; noise and rain fall on each anew. Batches are ``float32
[n, c, h, w]`` in 0-1, RGB, c = 3 or 6 (the background last). All draws come from torch's global
generator, which the training loop seeds per epoch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - its usual name

from pipeline.learning import trivial


@dataclass(frozen=True)
class Augment:
    """Which changes, how strong. Shares are of pictures changed; 0 switches a change off.

    ``flip`` mirrors, alternately per epoch; ``shift_px`` moves (edges reflected); ``turn_deg``,
    ``zoom`` and ``slide`` (share of the side) jitter the geometry; ``light`` scales brightness,
    contrast and colour; ``paint`` turns hues, which repaints vehicles but no grey road; ``dusk``
    darkens, tints and adds grain; ``shadow`` casts the shadow of something outside; ``rain`` draws
    streaks; ``glare`` adds headlights' glow; ``blur`` and ``noise`` soften and grain; ``erase``
    blanks a square; ``between`` is how much the light may differ between crop and background;
    ``trivial`` is the share of batches that get changes of any kind and strength, one to a picture,
    in place of those of geometry, light and grain.
    """

    flip: bool = False
    shift_px: int = 0
    turn_deg: float = 0.0
    zoom: float = 0.0
    slide: float = 0.0
    light: float = 0.0
    paint: float = 0.0
    dusk: float = 0.0
    shadow: float = 0.0
    rain: float = 0.0
    glare: float = 0.0
    blur: float = 0.0
    noise: float = 0.0
    erase: float = 0.0
    between: float = 0.0
    trivial: float = 0.0

    def __call__(self, pixels: Tensor, mirrored: Tensor | None = None) -> Tensor:
        """Return changed copies of ``uint8[n, c, h, w]`` as ``float32`` in 0-1.

        ``mirrored`` (bool ``[n]``) says which to flip; without it each is flipped at random. Where
        pixels only move (``flip``, ``shift_px``) they stay ``uint8``, which networks take too.
        """
        if self.flip:
            if mirrored is None:
                mirrored = torch.rand(len(pixels), device=pixels.device) < 0.5
            turned = mirrored.nonzero().flatten()
            pixels = pixels.index_copy(0, turned, pixels.index_select(0, turned).flip(3))
        if self.shift_px:
            pixels = shifted(pixels, self.shift_px)
        if replace(self, flip=False, shift_px=0) == Augment():
            return pixels
        if self.trivial and float(torch.rand(())) < self.trivial:
            return erased(trivial.changed(pixels).float().mul_(1 / 255), self.erase)
        x = pixels.float().mul_(1 / 255)
        if self.turn_deg or self.zoom or self.slide:
            moved = _chosen(x, 0.6)  # the dearest change of all, so not for every picture
            if len(moved):
                x[moved] = jittered(x[moved], self.turn_deg, self.zoom, self.slide)
        if self.light or self.dusk or self.paint:
            x = relit(x, self.light, self.dusk, self.between, self.paint)
        if self.shadow:
            x = shadowed(x, self.shadow)
        if self.glare:
            x = glowing(x, self.glare)
        if self.rain:
            x = raining(x, self.rain)
        if self.blur:
            x = softened(x, self.blur)
        if self.noise or self.dusk:
            x = grained(x, 0.03 * max(self.noise, self.dusk))
        if self.erase:
            x = erased(x, self.erase)
        return x.clamp_(0.0, 1.0)


def shifted(pixels: Tensor, most_px: int) -> Tensor:
    """Move each picture by up to ``most_px`` both ways, edges reflected. Any dtype, one gather."""
    n, _, height, width = pixels.shape
    down = torch.randint(-most_px, most_px + 1, (n, 1), device=pixels.device)
    right = torch.randint(-most_px, most_px + 1, (n, 1), device=pixels.device)
    rows = _reflected(torch.arange(height, device=pixels.device) + down, height)
    columns = _reflected(torch.arange(width, device=pixels.device) + right, width)
    picture = torch.arange(n, device=pixels.device)[:, None, None]
    moved = pixels.permute(0, 2, 3, 1)[picture, rows[:, :, None], columns[:, None, :]]
    return moved.permute(0, 3, 1, 2)


def jittered(x: Tensor, turn_deg: float, zoom: float, slide: float) -> Tensor:
    """Turn, zoom and slide a little about the centre; edges are repeated."""
    n, _, height, width = x.shape
    angle = _draw(x, -1, 1).flatten() * math.radians(turn_deg)
    scale = torch.exp(_draw(x, -1, 1).flatten() * math.log1p(zoom))
    stretch = torch.exp(_draw(x, -1, 1).flatten() * math.log1p(zoom / 2))
    aspect = height / width
    theta = torch.zeros(n, 2, 3, device=x.device)
    theta[:, 0, 0] = torch.cos(angle) * scale * stretch
    theta[:, 0, 1] = -torch.sin(angle) * scale * aspect
    theta[:, 1, 0] = torch.sin(angle) * scale / aspect
    theta[:, 1, 1] = torch.cos(angle) * scale / stretch
    theta[:, :, 2] = (torch.rand(n, 2, device=x.device) * 2 - 1) * 2 * slide
    grid = F.affine_grid(theta, list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, padding_mode="border", align_corners=False)


def relit(x: Tensor, light: float, dusk: float, between: float, paint: float = 0.0) -> Tensor:
    """Change exposure, contrast, colour; some pictures as at dusk (dark and tinted).

    All of it is one 3×3 colour matrix and an offset per picture: a single pass over the pixels.
    """
    n, _, height, width = x.shape
    low = _draw(x, 0, 1) < 0.5 * dusk
    gain = torch.exp(_draw(x, -0.45, 0.45) * light)
    gain = torch.where(low, gain * torch.exp(-_draw(x, 0.2, 1.3)), gain)
    tint = torch.exp(torch.randn(n, 3, 1, device=x.device) * 0.06 * light)
    lift = _draw(x, -0.08, 0.06) * light
    grey = _draw(x, 0, 0.5)[:, 0] * light
    eye = torch.eye(3, device=x.device)
    mix = (1 - grey) * eye + grey / 3
    if paint:
        mix = hue_turns(n, paint, x.device) @ mix
    parts = []
    for i, part in enumerate(torch.split(x, 3, dim=1)):
        if i and between:
            gain = gain * torch.exp(_draw(x, -0.12, 0.12) * between)
            lift = lift + _draw(x, -0.02, 0.02) * between
        matrix = mix * tint * gain[:, 0]
        parts.append(torch.baddbmm(lift[:, 0], matrix, part.reshape(n, 3, -1)))
    return torch.cat(parts, dim=1).view(n, -1, height, width).clamp_(0, 1)


def hue_turns(n: int, share: float, device: torch.device) -> Tensor:
    """Return ``[n, 3, 3]`` turns about the grey axis (Rodrigues), by any angle for a ``share``."""
    turned = (torch.rand(n, 1, 1, device=device) < share).float()
    angle = torch.rand(n, 1, 1, device=device) * 2 * math.pi * turned
    eye = torch.eye(3, device=device)
    cross = torch.tensor([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]], device=device) / math.sqrt(3)
    return torch.cos(angle) * eye + (1 - torch.cos(angle)) / 3 + torch.sin(angle) * cross


def shadowed(x: Tensor, share: float) -> Tensor:
    """Cast a slanted four-sided shadow on the crop of some pictures: never on its background.

    It is what a truck in the next lane does when the sun shines, and no labelled day may have sun.
    """
    shaded = _chosen(x, 0.4 * share)
    if not len(shaded):
        return x
    crop = x[shaded, :3]
    rows, columns = _places(x)
    down, right = rows - _draw(crop, 0, 1), columns - _draw(crop, 0, 1)
    angle, sharp = _draw(crop, 0, math.pi), _draw(crop, 15, 60)
    along = (right * torch.cos(angle) + down * torch.sin(angle)).abs() - _draw(crop, 0.1, 0.5)
    across = (down * torch.cos(angle) - right * torch.sin(angle)).abs() - _draw(crop, 0.05, 0.3)
    depth = torch.sigmoid(-sharp * torch.maximum(along, across)) * _draw(crop, 0.2, 0.65)
    x[shaded, :3] = crop * (1 - depth)
    return x


def glowing(x: Tensor, share: float) -> Tensor:
    """Add one soft lamp to the crop of some pictures: never to its background."""
    lit = _chosen(x, 0.3 * share)
    if not len(lit):
        return x
    crop = x[lit, :3]
    rows, columns = _places(x)
    reach = _draw(crop, 0.03, 0.15)
    down = torch.exp(-((rows - _draw(crop, 0, 1)) ** 2) / reach**2)
    right = torch.exp(-((columns - _draw(crop, 0, 1)) ** 2) / reach**2)
    x[lit, :3] = crop + down * right * _draw(crop, 0.2, 0.9)
    return x


def raining(x: Tensor, share: float) -> Tensor:
    """Draw slanted bright streaks over the crop of some pictures, and grey them a little."""
    _, _, height, width = x.shape
    wet = _chosen(x, 0.4 * share)
    if not len(wet):
        return x
    drops = (torch.rand(len(wet), 1, height, width, device=x.device) > 0.985).float()
    length = 7
    kernel = torch.zeros(1, 1, length, length, device=x.device)
    kernel[0, 0, torch.arange(length), (torch.arange(length) // 3) + 2] = 1.0
    streaks = F.conv2d(drops, kernel, padding=length // 2).clamp(0, 1)
    crop = torch.lerp(x[wet, :3], 0.8 * streaks + 0.1, 0.25 * streaks)
    x[wet, :3] = torch.lerp(crop, crop.mean(dim=(1, 2, 3), keepdim=True).expand_as(crop), 0.15)
    return x


def softened(x: Tensor, share: float) -> Tensor:
    """Blur some pictures with a 3×3 kernel, once or twice, by a random amount, as lenses do."""
    soft = _chosen(x, 0.4 * share)
    if not len(soft):
        return x
    sharp = x[soft]
    mean = _blurred(sharp)
    if torch.rand(()) < 0.4:
        mean = _blurred(mean)
    x[soft] = torch.lerp(sharp, mean, _draw(sharp, 0, 1))
    return x


def grained(x: Tensor, most: float) -> Tensor:
    """Add sensor noise of a random strength up to ``most``.

    One run of noise, read from a random place on, serves the batch: drawing it all costs more than
    a network's pass.
    """
    bank = torch.randn(1 << 17, device=x.device)
    start = int(torch.randint(0, 1 << 16, ()))
    size = x[0].numel()
    repeats = -(-(size + len(x) * 977) // (1 << 16))
    line = bank[start : start + (1 << 16)].repeat(repeats)
    noise = line.as_strided(x.shape, (977, *x[0].contiguous().stride()))
    return x.addcmul_(noise, _draw(x, 0.0, most))


def erased(x: Tensor, share: float) -> Tensor:
    """Blank a square of up to a third of the side with the picture's mean, as an occluder would."""
    holed = _chosen(x, share)
    if not len(holed):
        return x
    part = x[holed]
    rows = torch.arange(x.shape[2], device=x.device)[None, None, :, None] / x.shape[2]
    columns = torch.arange(x.shape[3], device=x.device)[None, None, None, :] / x.shape[3]
    half = _draw(part, 0.05, 0.17)
    hole = ((rows - _draw(part, 0, 1)).abs() < half) & ((columns - _draw(part, 0, 1)).abs() < half)
    x[holed] = torch.where(hole, part.mean(dim=(2, 3), keepdim=True), part)
    return x


def _blurred(x: Tensor) -> Tensor:
    """Return a 3×3 binomial blur, edges repeated: two passes of (1, 2, 1) ÷ 4."""
    wide = F.pad(x, (1, 1, 0, 0), mode="replicate")
    x = 0.25 * (wide[..., :-2] + wide[..., 2:]) + 0.5 * x
    tall = F.pad(x, (0, 0, 1, 1), mode="replicate")
    return 0.25 * (tall[:, :, :-2] + tall[:, :, 2:]) + 0.5 * x


def _chosen(x: Tensor, share: float) -> Tensor:
    """Return the rows of a random ``share`` of the pictures."""
    return (torch.rand(len(x), device=x.device) < share).nonzero().flatten()


def _draw(x: Tensor, low: float, high: float) -> Tensor:
    """Return one uniform number per picture, shaped ``[n, 1, 1, 1]``."""
    return torch.rand(len(x), 1, 1, 1, device=x.device) * (high - low) + low


def _places(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return how far down ``[1, 1, h, 1]`` and right ``[1, 1, 1, w]`` pixels lie, from 0 to 1."""
    down, right = (torch.linspace(0, 1, side, device=x.device) for side in x.shape[2:])
    return down[None, None, :, None], right[None, None, None, :]


def _reflected(index: Tensor, size: int) -> Tensor:
    index = index.abs()
    return torch.where(index >= size, 2 * (size - 1) - index, index)
