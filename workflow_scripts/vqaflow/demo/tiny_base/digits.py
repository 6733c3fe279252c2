"""Generated digits for the tiny base model: pen strokes and font glyphs, bent, slanted and thickened at random.

Shapes: B digits, S segments of a digit, E = 2 ends of a segment, N points of a digit, P points of the scan,
2 coordinates.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont

SCAN = 32  # side of the black-and-white scan of a digit
GLYPH = 48  # side of the stored font glyphs
SEGMENTS = 28  # straight pieces of one hand-drawn digit
FONTS = (
    "DejaVuSans.ttf",
    "DejaVuSans-Bold.ttf",
    "DejaVuSans-Oblique.ttf",
    "DejaVuSansMono.ttf",
    "DejaVuSerif.ttf",
    "DejaVuSerif-Italic.ttf",
    "STIXGeneral.ttf",
    "STIXGeneralItalic.ttf",
    "cmr10.ttf",
    "cmss10.ttf",
    "cmtt10.ttf",
    "cmti10.ttf",
)

Point = tuple[float, float]
Stroke = list[Point]


class Dice:
    """Random tensors on one device from one generator."""

    def __init__(self, device: torch.device, seed: int) -> None:
        self.device = device
        self.generator = torch.Generator(device=device).manual_seed(seed)

    def uniform(self, shape: Sequence[int], low: float = 0.0, high: float = 1.0) -> torch.Tensor:
        """Uniform random numbers."""
        return torch.rand(tuple(shape), generator=self.generator, device=self.device) * (high - low) + low

    def integers(self, count: int, high: int) -> torch.Tensor:
        """Random integers below `high`."""
        return torch.randint(high, (count,), generator=self.generator, device=self.device)

    def chance(self, count: int, probability: float) -> torch.Tensor:
        """Random booleans."""
        return self.uniform((count,)) < probability


class DigitWriter:
    """Writes random digits as ink (B, 1, SCAN, SCAN) from 0 to 1."""

    def __init__(self, dice: Dice) -> None:
        self.dice = dice
        self.strokes, self.stroke_digits = (t.to(dice.device) for t in stroke_styles())
        self.glyphs, self.glyph_digits = (t.to(dice.device) for t in font_glyphs())
        axis = torch.arange(SCAN, device=dice.device) + 0.5
        self.grid = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), -1)  # (H, W, 2): x, y

    def by_hand(self, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Hand-drawn digits that fill the scan's height: ink, and which digit."""
        style = self.dice.integers(count, len(self.strokes))
        ends_BSE2 = self.bend(self.strokes[style].flatten(1, 2)).unflatten(1, (-1, 2))
        thickness = self.dice.uniform((count,), 1.2, 3.2)
        low, high = ends_BSE2.amin((1, 2)), ends_BSE2.amax((1, 2))
        extent = (high - low).clamp(min=0.05)
        room = SCAN - 2 * thickness - self.dice.uniform((count,), 0, 3)
        scale_y = room / extent[:, 1]
        scale_x = torch.minimum(scale_y * self.dice.uniform((count,), 0.55, 1.2), room / extent[:, 0])
        scale = torch.stack([scale_x, scale_y], 1)
        ends_BSE2 = (ends_BSE2 - ((low + high) / 2)[:, None, None]) * scale[:, None, None] + SCAN / 2
        distance = segment_distance(self.grid.flatten(0, 1), ends_BSE2)
        ink = torch.sigmoid((thickness[:, None] - distance) * 3)
        return ink.view(count, 1, SCAN, SCAN), self.stroke_digits[style]

    def bend(self, points_BN2: torch.Tensor) -> torch.Tensor:
        """Points of the unit square moved by one smooth random map per row: powers, waves, slant and rotation."""
        count = len(points_BN2)
        points = points_BN2.clamp(0, 1) ** torch.exp(self.dice.uniform((count, 1, 2), -0.4, 0.4))
        for frequency in (1.0, 2.0):
            phase = self.dice.uniform((count, 1, 2), 0, 2 * math.pi)
            height = self.dice.uniform((count, 1, 2), -1, 1) * (0.1 / frequency)
            points = points + height * torch.sin(5 * frequency * points.flip(-1) + phase)
        slant, turn = self.dice.uniform((count, 1), -0.35, 0.35), self.dice.uniform((count, 1), -0.2, 0.2)
        x, y = points[..., 0] - 0.5, points[..., 1] - 0.5
        x = x * 0.75 - slant * y
        return torch.stack([x * turn.cos() - y * turn.sin(), x * turn.sin() + y * turn.cos()], -1)

    def in_print(self, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Printed digits that fill the scan's height: ink, and which digit."""
        pick = self.dice.integers(count, len(self.glyphs))
        base = (self.grid * (2 / SCAN) - 1)[None].expand(count, -1, -1, -1)
        slant, turn = (self.dice.uniform((count, 1, 1), -0.25, 0.25) for _ in range(2))
        x = (base[..., 0] + slant * base[..., 1]) * self.dice.uniform((count, 1, 1), 0.8, 1.3)
        x, y = x * turn.cos() - base[..., 1] * turn.sin(), base[..., 1] * turn.cos() + x * turn.sin()
        phase = self.dice.uniform((count, 1, 1, 2), 0, 2 * math.pi)
        wave = self.dice.uniform((count, 1, 1, 2), -0.1, 0.1)
        where = torch.stack([x, y], -1) + wave * torch.sin(3 * torch.stack([y, x], -1) + phase)
        ink = F.avg_pool2d(F.grid_sample(self.glyphs[pick], where, align_corners=False), 3, 1, 1)
        level = self.dice.uniform((count, 1, 1, 1), 0.25, 0.7)
        return torch.sigmoid((ink - level) * 12), self.glyph_digits[pick]


def segment_distance(points_P2: torch.Tensor, ends_BSE2: torch.Tensor) -> torch.Tensor:
    """Distance (B, P) of each point to the nearest segment of each of B sets of S segments with two ends E."""
    nearest_BP = torch.full((len(ends_BSE2), len(points_P2)), torch.inf, device=points_P2.device)
    for ends_BE2 in ends_BSE2.unbind(1):
        start, end = ends_BE2.unbind(1)
        away, along = points_P2[None] - start[:, None], (end - start)[:, None]
        share = ((away * along).sum(-1) / along.square().sum(-1).clamp(min=1e-6)).clamp(0, 1)
        nearest_BP = torch.minimum(nearest_BP, (away - share[..., None] * along).square().sum(-1))
    return nearest_BP.sqrt()


def arc(x: float, y: float, rx: float, ry: float, start: float, stop: float, points: int = 12) -> Stroke:
    """Points of an elliptic arc; angles in degrees, 0 to the right, growing clockwise (y points down)."""
    angles = [math.radians(start + (stop - start) * i / points) for i in range(points + 1)]
    return [(x + rx * math.cos(a), y + ry * math.sin(a)) for a in angles]


def pen_strokes() -> dict[int, list[list[Stroke]]]:
    """The ways to write each digit: strokes of points in the unit square."""
    eight = [(0.5 + 0.4 * math.sin(2 * t), 0.5 - 0.5 * math.cos(t)) for t in (i * math.pi / 12 for i in range(25))]
    return {
        0: [[arc(0.5, 0.5, 0.4, 0.5, -90, 270, 24)], [arc(0.5, 0.5, 0.3, 0.5, -60, 290, 24)]],
        1: [
            [[(0.5, 0), (0.5, 1)]],
            [[(0.25, 0.25), (0.55, 0), (0.55, 1)]],
            [[(0.25, 0.22), (0.5, 0), (0.5, 1)], [(0.2, 1), (0.8, 1)]],
            [[(0.05, 0.42), (0.6, 0), (0.6, 1)]],
            [[(0.0, 0.35), (0.55, 0), (0.5, 1)], [(0.1, 1), (0.9, 1)]],
            [[(0.1, 0.3), (0.3, 0.3), (0.55, 0), (0.55, 1)]],
        ],
        2: [
            [arc(0.48, 0.28, 0.38, 0.28, -160, 30) + [(0.1, 1), (0.95, 1)]],
            [
                arc(0.48, 0.26, 0.36, 0.26, -170, 40)
                + [(0.3, 0.85)]
                + arc(0.25, 0.87, 0.15, 0.1, 90, 300, 6)
                + [(0.95, 1)]
            ],
            [arc(0.5, 0.3, 0.4, 0.3, -150, 20) + [(0.55, 0.75), (0.05, 0.95), (0.5, 0.93), (0.95, 1)]],
        ],
        3: [
            [arc(0.45, 0.25, 0.36, 0.25, -150, 90, 10) + arc(0.45, 0.74, 0.42, 0.26, -90, 150, 10)],
            [[(0.1, 0), (0.85, 0), (0.4, 0.4)] + arc(0.42, 0.7, 0.45, 0.3, -90, 150, 12)],
            [arc(0.4, 0.25, 0.4, 0.25, -120, 80, 10) + [(0.35, 0.5)] + arc(0.4, 0.75, 0.45, 0.25, -80, 120, 10)],
        ],
        4: [
            [[(0.15, 0), (0.1, 0.55), (0.95, 0.55)], [(0.75, 0.1), (0.7, 1)]],
            [[(0.7, 0), (0.05, 0.68), (0.95, 0.68)], [(0.7, 0), (0.7, 1)]],
            [[(0.4, 0), (0.05, 0.6), (0.95, 0.6)], [(0.65, 0.35), (0.6, 1)]],
            [[(0.2, 0.05), (0.15, 0.4), (0.4, 0.52), (0.8, 0.45)], [(0.85, 0), (0.75, 0.5), (0.7, 1)]],
        ],
        5: [
            [[(0.88, 0), (0.22, 0), (0.15, 0.44)] + arc(0.45, 0.7, 0.42, 0.3, -130, 140, 14)],
            [[(0.22, 0), (0.18, 0.45)] + arc(0.45, 0.7, 0.42, 0.3, -120, 150, 14), [(0.22, 0), (0.9, 0.02)]],
            [[(0.8, 0), (0.3, 0.03), (0.2, 0.4), (0.6, 0.45), (0.8, 0.65), (0.65, 0.92), (0.15, 1)]],
        ],
        6: [
            [[(0.75, 0), (0.4, 0.2), (0.15, 0.55)] + arc(0.5, 0.73, 0.37, 0.27, 180, -180, 16)],
            [[(0.6, 0), (0.3, 0.3), (0.18, 0.65)] + arc(0.48, 0.76, 0.32, 0.24, 180, -150, 16)],
            [[(0.35, 0), (0.15, 0.4), (0.12, 0.75)] + arc(0.48, 0.78, 0.36, 0.22, 180, -180, 16)],
        ],
        7: [
            [[(0.08, 0), (0.92, 0), (0.4, 1)]],
            [[(0.08, 0), (0.92, 0), (0.4, 1)], [(0.3, 0.5), (0.9, 0.5)]],
            [[(0.1, 0.15), (0.12, 0), (0.9, 0), (0.6, 0.5), (0.5, 1)]],
            [[(0.05, 0.2), (0.1, 0.02), (0.85, 0.04), (0.6, 0.5), (0.4, 1)], [(0.15, 0.55), (0.95, 0.5)]],
            [[(0.05, 0.1), (0.3, 0.0), (0.6, 0.1), (0.9, 0.0), (0.6, 0.5), (0.5, 1)], [(0.3, 0.5), (0.85, 0.5)]],
            [[(0.05, 0.08), (0.5, 0), (0.9, 0.05), (0.7, 0.45), (0.35, 1)], [(0.25, 0.55), (0.85, 0.45)]],
        ],
        8: [
            [eight],
            [arc(0.5, 0.24, 0.32, 0.24, 90, 450, 12) + arc(0.5, 0.75, 0.4, 0.25, -90, 270, 14)],
            [arc(0.5, 0.22, 0.25, 0.22, 90, 450, 12) + arc(0.5, 0.72, 0.28, 0.28, -90, 270, 14)],
        ],
        9: [
            [arc(0.48, 0.28, 0.38, 0.28, 0, -360, 14) + [(0.84, 0.6), (0.75, 1)]],
            [arc(0.48, 0.28, 0.38, 0.28, 0, -360, 14) + [(0.86, 0.65), (0.65, 0.95), (0.2, 1)]],
            [arc(0.45, 0.26, 0.35, 0.26, -20, -350, 14) + [(0.8, 0.28), (0.65, 0.65), (0.45, 1)]],
            [
                arc(0.5, 0.24, 0.36, 0.24, -30, -330, 12),
                [(0.86, 0.05), (0.85, 0.6)] + arc(0.45, 0.72, 0.4, 0.28, 0, 130, 8),
            ],
            [arc(0.5, 0.22, 0.4, 0.24, -40, -310, 12) + arc(0.4, 0.72, 0.45, 0.28, -50, 140, 10)],
            [
                arc(0.5, 0.3, 0.36, 0.3, -60, -340, 12)
                + [(0.82, 0.1), (0.84, 0.5)]
                + arc(0.48, 0.75, 0.36, 0.25, 0, 140, 8)
            ],
        ],
    }


def stroke_styles() -> tuple[torch.Tensor, torch.Tensor]:
    """Segments (styles, SEGMENTS, 2, 2) of all styles, equally many per digit, and the digits."""
    segments, digits = [], []
    for digit, styles in pen_strokes().items():
        for i in range(12):  # a multiple of the numbers of styles: 2, 3, 4 and 6
            pieces = [pair for stroke in styles[i % len(styles)] for pair in zip(stroke, stroke[1:], strict=False)]
            assert len(pieces) <= SEGMENTS, (digit, len(pieces))
            segments.append(pieces + [pieces[-1]] * (SEGMENTS - len(pieces)))
            digits.append(digit)
    return torch.tensor(segments), torch.tensor(digits)


def font_glyphs() -> tuple[torch.Tensor, torch.Tensor]:
    """Digits of matplotlib's fonts, cropped to their height: (glyphs, 1, GLYPH, GLYPH) from 0 to 1, and which digit."""
    import matplotlib

    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    glyphs, digits = [], []
    for name in FONTS:
        font = ImageFont.truetype(str(folder / name), 96)
        for digit in range(10):
            box = font.getbbox(str(digit))
            picture = Image.new("L", (box[2] - box[0], box[3] - box[1]))
            ImageDraw.Draw(picture).text((-box[0], -box[1]), str(digit), fill=255, font=font)
            height = GLYPH - 6
            width = min(GLYPH - 6, max(1, round(picture.width * height / picture.height)))
            square = Image.new("L", (GLYPH, GLYPH))
            square.paste(picture.resize((width, height)), ((GLYPH - width) // 2, 3))
            glyphs.append(torch.tensor(list(square.tobytes())).view(1, GLYPH, GLYPH) / 255)
            digits.append(digit)
    return torch.stack(glyphs), torch.tensor(digits)
