"""Generated pictures for the tiny base model: coloured shapes and digits, drawn as tensors, thousands per second.

Shapes are drawn from signed distances (negative inside), digits from pen strokes or font glyphs that are bent, slanted
and thickened at random; most digits are then scanned like scikit-learn's (32 x 32 black-and-white, counted in blocks of
4 x 4 pixels). No picture of any data set is used. Coordinates are pixels of a 64 x 64 canvas, y pointing down.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from vqaflow.demo.tiny_base.digits import SCAN, Dice, DigitWriter

CANVAS = 64
SIDE = 112  # of the finished picture, for patches of 14: the demo's 64 x 64 images after resizing to model.min_pixels

COLORS = {
    "red": (255, 0, 0),
    "green": (0, 255, 0),
    "blue": (0, 0, 255),
    "black": (0, 0, 0),
    "gray": (128, 128, 128),
    "teal": (0, 128, 128),
    "brown": (165, 42, 42),
    "yellow": (255, 255, 0),
    "orange": (255, 140, 0),
    "purple": (128, 0, 200),
    "pink": (255, 150, 200),
    "white": (255, 255, 255),
}
SHAPES = ("round", "four-sided", "three-sided", "star", "cross", "ring", "moon")
LOCATIONS = ("top left", "top right", "bottom left", "bottom right")
FACTS = ("color", "shape", "digit", "count", "location")
FACT_SIZES = {"color": len(COLORS), "shape": len(SHAPES), "digit": 10, "count": 4, "location": len(LOCATIONS)}


@dataclass(frozen=True)
class Pictures:
    """B pictures (B, 3, side, side) of 0 to 255, and what they show: facts (B, 5), -1 where nothing is asked."""

    pixels: torch.Tensor
    facts: torch.Tensor


class Painter:
    """Draws random pictures with sides of `side` pixels on one device from one generator."""

    def __init__(self, device: torch.device, seed: int, side: int = SIDE) -> None:
        self.device, self.side = device, side
        self.dice = Dice(device, seed)
        self.writer = DigitWriter(self.dice)
        self.palette = torch.tensor(list(COLORS.values()), device=device, dtype=torch.float32)
        axis = torch.arange(CANVAS, device=device) + 0.5
        self.grid = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), -1)  # (H, W, 2): x, y

    def paint(self, count: int) -> Pictures:
        """`count` pictures: half with one shape, a tenth with several, the rest with a digit."""
        several, single = count // 10, count // 2
        parts = [self.one_shape(single), self.several_shapes(several), self.digits(count - single - several)]
        canvas = torch.cat([part.pixels for part in parts])
        # bicubic with antialiasing is Pillow's resampling, which the image pipeline uses
        large = F.interpolate(canvas, (self.side, self.side), mode="bicubic", antialias=True, align_corners=False)
        return Pictures(large.clamp(0, 255).round(), torch.cat([part.facts for part in parts]))

    # --- shapes

    def one_shape(self, count: int) -> Pictures:
        """One shape of any size anywhere."""
        radius = torch.exp(self.dice.uniform((count,), math.log(3.0), math.log(18.0)))
        centre = self.dice.uniform((count, 2)) * (CANVAS - 1.2 * radius[:, None]) + 0.6 * radius[:, None]
        color, shape = self.dice.integers(count, len(COLORS)), self.dice.integers(count, len(SHAPES))
        paper = self.paper(color)
        pixels = self.draw_shape(paper, centre, radius, color, shape)
        off = centre - CANVAS / 2
        location = (off[:, 0] > 0).long() + 2 * (off[:, 1] > 0).long()
        location[(off.abs() < 5).any(1)] = -1
        none = torch.full_like(color, -1)
        return Pictures(pixels, torch.stack([color, shape, none, torch.zeros_like(color), location], 1))

    def several_shapes(self, count: int) -> Pictures:
        """One to four equal shapes, in different quarters of the canvas."""
        number = self.dice.integers(count, FACT_SIZES["count"])
        color, shape = self.dice.integers(count, len(COLORS)), self.dice.integers(count, len(SHAPES))
        pixels = self.paper(color)
        quarters = self.dice.uniform((count, 4)).argsort(1)
        for slot in range(4):
            quarter = quarters[:, slot]
            corner = torch.stack([quarter % 2, quarter // 2], 1) * (CANVAS / 2)
            centre = corner + self.dice.uniform((count, 2), 12, 20)
            drawn = self.draw_shape(pixels, centre, self.dice.uniform((count,), 5, 11), color, shape)
            pixels = torch.where((slot <= number)[:, None, None, None], drawn, pixels)
        none = torch.full_like(color, -1)
        return Pictures(pixels, torch.stack([color, shape, none, number, none], 1))

    def paper(self, color: torch.Tensor) -> torch.Tensor:
        """Backgrounds (B, 3, H, W), mostly light, on which `color` can be seen; some with a gradient or noise."""
        count = len(color)
        light, dark = self.dice.uniform((count, 3), 215, 255), self.dice.uniform((count, 3), 0, 70)
        paper = torch.where(self.dice.chance(count, 0.85)[:, None], light, dark)
        ink = self.palette[color]
        close = (paper - ink).abs().amax(1) < 80
        paper = torch.where(close[:, None], torch.where(ink.mean(1, keepdim=True) > 127, dark, light), paper)
        flat = paper[:, :, None, None].expand(-1, -1, CANVAS, CANVAS)
        slope = self.dice.uniform((count, 2), -0.3, 0.3) * self.dice.chance(count, 0.2)[:, None]
        ramp = ((self.grid - CANVAS / 2) * slope[:, None, None]).sum(-1)[:, None]
        noise = (
            self.dice.uniform((count, 1, CANVAS, CANVAS), -12, 12) * self.dice.chance(count, 0.15)[:, None, None, None]
        )
        return (flat + ramp + noise).clamp(0, 255)

    def draw_shape(
        self, paper: torch.Tensor, centre: torch.Tensor, radius: torch.Tensor, color: torch.Tensor, shape: torch.Tensor
    ) -> torch.Tensor:
        """`paper` with a shape on it, its edge sharp or soft, its colour a little off the palette's."""
        count = len(color)
        turn = self.dice.uniform((count,), -math.pi, math.pi) * self.dice.chance(count, 0.4)
        offset = self.grid[None] - centre[:, None, None]
        cos, sin = turn.cos()[:, None, None], turn.sin()[:, None, None]
        x = cos * offset[..., 0] + sin * offset[..., 1]
        y = cos * offset[..., 1] - sin * offset[..., 0]
        stretch = self.dice.uniform((count,), 0.3, 1.0)
        upright = self.dice.chance(count, 0.5)
        distance = shape_distances(x, y, radius[:, None, None], stretch[:, None, None], upright[:, None, None])
        distance = distance.gather(1, shape[:, None, None, None].expand(-1, 1, CANVAS, CANVAS))
        ink = (
            self.palette[color] + self.dice.uniform((count, 3), -18, 18) * self.dice.chance(count, 0.6)[:, None]
        ).clamp(0, 255)
        sharpness = self.dice.uniform((count, 1, 1, 1), 1.5, 12)
        cover = torch.sigmoid(-distance * sharpness)
        return paper * (1 - cover) + ink[:, :, None, None] * cover

    # --- digits

    def digits(self, count: int) -> Pictures:
        """One digit: three in four hand-drawn, the rest printed; most scanned to 8 x 8, the others placed anywhere."""
        drawn = count * 3 // 4
        parts = [self.writer.by_hand(drawn), self.writer.in_print(count - drawn)]
        ink, digit = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
        scanned = F.avg_pool2d((ink > 0.5).float(), SCAN // 8)
        scanned = F.interpolate(scanned, (CANVAS, CANVAS), mode="bicubic", antialias=True).clamp(0, 1)
        cover = torch.where(self.dice.chance(count, 0.7)[:, None, None, None], scanned, self.place(ink))
        color = self.dice.integers(count, len(COLORS))
        plain = self.dice.chance(count, 0.6)
        paper, tint = self.paper(color), self.palette[color]
        paper = torch.where(plain[:, None, None, None], torch.full_like(paper, 255), paper)
        tint = torch.where(plain[:, None], torch.zeros_like(tint), tint)
        color = torch.where(plain, torch.full_like(color, list(COLORS).index("black")), color)
        none = torch.full_like(color, -1)
        pixels = paper * (1 - cover) + tint[:, :, None, None] * cover
        return Pictures(pixels, torch.stack([color, none, digit, none, none], 1))

    def place(self, ink: torch.Tensor) -> torch.Tensor:
        """The ink (B, 1, SCAN, SCAN) at a random size and place on the canvas."""
        count = len(ink)
        size = self.dice.uniform((count,), 0.35, 1.0)
        shift = self.dice.uniform((count, 2), -1, 1) * (1 - size)[:, None]
        theta = torch.zeros(count, 2, 3, device=self.device)
        theta[:, 0, 0] = theta[:, 1, 1] = 1 / size
        theta[:, :, 2] = -shift / size[:, None]
        grid = F.affine_grid(theta, [count, 1, CANVAS, CANVAS], align_corners=False)
        return F.grid_sample(ink, grid, align_corners=False)


def shape_distances(
    x: torch.Tensor, y: torch.Tensor, r: torch.Tensor, stretch: torch.Tensor, upright: torch.Tensor
) -> torch.Tensor:
    """Signed distances (B, shapes, H, W) of each pixel to each of SHAPES of radius `r`, narrowed by `stretch`."""
    half_x, half_y = torch.where(upright, r * stretch, r), torch.where(upright, r, r * stretch)
    radius = torch.hypot(x, y)
    ellipse = torch.hypot(x, y / (0.8 + 0.2 * stretch)) - r
    box = torch.maximum(x.abs() - half_x, y.abs() - half_y)
    lean = 0.3 + 0.5 * stretch  # half the base over the height
    triangle = torch.maximum((x.abs() - lean * (y + r)) / torch.hypot(lean, torch.ones_like(lean)), y - 0.7 * r)
    angle = torch.atan2(x, -y)
    fifth = 2 * math.pi / 5
    folded = (torch.remainder(angle + fifth / 2, fifth) - fifth / 2).abs()
    px, py = radius * folded.cos(), radius * folded.sin()
    ix, iy = 0.42 * math.cos(fifth / 2), 0.42 * math.sin(fifth / 2)
    length = math.hypot(1 - ix, iy)
    star = ((px - r) * iy + py * (1 - ix)) / length
    arm = 0.3 * r
    cross = torch.minimum(torch.maximum(x.abs() - r, y.abs() - arm), torch.maximum(x.abs() - arm, y.abs() - r))
    ring = (radius - 0.75 * r).abs() - 0.22 * r
    moon = torch.maximum(radius - r, 0.85 * r - torch.hypot(x - 0.5 * r, y))
    return torch.stack([ellipse, box, triangle, star, cross, ring, moon], 1)
