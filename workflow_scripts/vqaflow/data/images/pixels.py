"""From a decoded image of any mode to RGB as a viewer shows it, with nothing lost without a word.

Transparent parts are shown on white, as in qwen-vl-utils. Greys of more than 8 bits are scaled by their own range.
Pillow keeps the transparent colour of a PNG in the file's bits while it scales the pixels to 8: both are made equal
here before they are compared.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image

WHITE_IS_ZERO = 0
PHOTOMETRIC, BITS_PER_SAMPLE = 262, 258  # TIFF tags
PNG_DEPTHS = {"L;2": 2, "L;4": 4, "RGB;16B": 16}  # by Pillow's raw mode, where its pixels have other bits than the file
NEARLY_BLACK = range(256, 4096)  # the brightest of a picture's 16-bit greys, if it holds values of 9 to 12 bits
HIDDEN = 1  # of 255: highest alpha of a channel that means nothing
MOST_HIDDEN = 0.99  # the share of transparent pixels above which it is told


class PixelProblem(Exception):
    """Why pixels cannot be shown: what, and the cure."""

    def __init__(self, what: str, cure: str) -> None:
        super().__init__(what)
        self.what, self.cure = what, cure


@dataclass(frozen=True, slots=True)
class Oddity:
    """Something odd about pixels that were used: a code word, what, and what one may do about it."""

    kind: str
    what: str
    cure: str


@dataclass(frozen=True, slots=True)
class RawPixels:
    """How a file stores its pixels, read before Pillow decodes them.

    The highest grey, whether 0 is white, and whether it has 16 bits per colour, of which Pillow keeps the upper 8.
    """

    highest: int = 65535
    white_is_zero: bool = False
    deep_colours: bool = False


def raw_pixels(image: Image.Image) -> RawPixels:
    """What `image`, opened but not loaded, says about its pixels; its transparent colour is scaled like them."""
    raw_mode = _raw_mode(image)
    if image.format == "PNG":
        _scale_key(image, PNG_DEPTHS.get(raw_mode, 8))
    if image.format == "TIFF" and image.mode.startswith("I;16"):
        tags = image.tag_v2  # type: ignore[attr-defined]
        bits = int(tags.get(BITS_PER_SAMPLE, (16,))[0])
        return RawPixels((1 << bits) - 1, tags.get(PHOTOMETRIC) == WHITE_IS_ZERO)
    return RawPixels(deep_colours=";16" in raw_mode)


def _raw_mode(image: Image.Image) -> str:
    """Pillow's name of the pixels' layout in the file; "" where its decoder needs none."""
    tiles = getattr(image, "tile", None)
    arguments = tiles[0][3] if tiles else ""
    first = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return first if isinstance(first, str) else ""


def _scale_key(image: Image.Image, bits: int) -> None:
    """Scale a PNG's transparent colour to 8 bits, as Pillow scales its pixels."""
    key = image.info.get("transparency")
    if bits == 16 and isinstance(key, tuple):
        image.info["transparency"] = tuple(value >> 8 for value in key)
    elif bits < 8 and isinstance(key, int):
        highest = (1 << bits) - 1
        image.info["transparency"] = (key & highest) * 255 // highest


def to_rgb(image: Image.Image, raw: RawPixels) -> tuple[Image.Image, list[Oddity]]:
    """The image as RGB, and what is odd about it. Raises PixelProblem where pixels have no standard meaning."""
    if image.mode.startswith("I;16"):
        return _deep_grey(image, raw)
    if image.mode in ("I", "F"):
        what = f"pixels of mode {image.mode} (32 bits) have no standard range of brightness"
        raise PixelProblem(what, "Save the image with 8 or 16 bits per channel")
    if not image.has_transparency_data:
        rgb = image.convert("RGB")
        return rgb, _dark_colours(rgb, raw)
    image = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")  # Pillow has no direct way
    alpha = image.getchannel("A")
    if alpha.getextrema()[1] <= HIDDEN:
        colours = image.convert("RGB")
        if all(low == high for low, high in colours.getextrema()):
            cure = "Look at it, and replace it if it should show something"
            return _on_white(image), [Oddity("image_empty_alpha", "every pixel is transparent: it is blank", cure)]
        what = "every pixel is marked as transparent; the colours below are used"
        return colours, [Oddity("image_alpha", what, "Look at it; save it without its alpha channel if it is right")]
    shown = _on_white(image)
    return shown, [*_dark_colours(image.convert("RGB"), raw), *_hidden(image, shown)]


def _dark_colours(colours: Image.Image, raw: RawPixels) -> list[Oddity]:
    """The oddity of colours of 16 bits, scaled to 8, whose values have fewer bits."""
    brightest = max(high for _, high in colours.getextrema())
    is_dark = raw.deep_colours and 0 < brightest < NEARLY_BLACK.stop >> 8
    return [_darkness((brightest + 1 << 8) - 1)] if is_dark else []


def _hidden(image: Image.Image, shown: Image.Image) -> list[Oddity]:
    """The oddity of an RGBA image of which hardly anything can be seen once it is `shown` on white."""
    alpha = np.asarray(image.getchannel("A"))
    share = float((alpha <= HIDDEN).mean())
    is_blank = all(low == high for low, high in shown.getextrema())
    if share <= MOST_HIDDEN and not (is_blank and alpha.min() < 255):
        return []
    what = f"{share:.1%} of the pixels are transparent, so that it is nearly white"
    if is_blank:
        what = "its transparent parts are shown on white, on which nothing of the rest is visible"
    return [Oddity("image_hidden", what, "Look at it; save it without its alpha channel, or on another ground")]


def _on_white(image: Image.Image) -> Image.Image:
    """An RGBA image on white."""
    on_white = Image.new("RGB", image.size, (255, 255, 255))
    on_white.paste(image, mask=image.getchannel("A"))
    return on_white


def _deep_grey(image: Image.Image, raw: RawPixels) -> tuple[Image.Image, list[Oddity]]:
    """Greys of 9 to 16 bits, scaled to 8 (Pillow would clip them); the transparent grey of a PNG becomes white."""
    values = np.asarray(image)
    greys = np.rint(np.minimum(values, raw.highest) / (raw.highest / 255)).astype(np.uint8)
    if raw.white_is_zero:
        greys = 255 - greys
    key = image.info.get("transparency")
    oddities = []
    if isinstance(key, int):
        greys[values == key] = 255
    elif raw.highest == 65535 and int(values.max()) in NEARLY_BLACK:
        oddities.append(_darkness(int(values.max())))
    return Image.fromarray(greys).convert("RGB"), oddities


def _darkness(brightest: int) -> Oddity:
    """The oddity of a picture whose brightest value of 16 bits is `brightest`."""
    what = f"the brightest of its 16-bit values is {brightest} of 65535, so the image looks nearly black"
    return Oddity("image_dark", what, "If its values have fewer bits, save it with 8 bits per channel")
