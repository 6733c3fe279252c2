"""A gallery: an HTML file of rows with their picture, question, choices and probabilities.

The file needs no other file: pictures are data URIs, and its content security policy keeps the browser from requesting
anything. Text from the tables reaches the page as JSON and is shown as text only, never as markup. The page's parts are
the files page.html, page.css and page.js.
"""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

from vqaflow.evaluation.gallery.pictures import Picture, Pictures, make_pictures
from vqaflow.runtime.files import write_text
from vqaflow.runtime.stage import log

HERE = Path(__file__).parent
# Bytes of a page. Snakemake's report embeds pages in base64, and browsers show no embedded page of more than 2 MiB: the
# report gets an excerpt.
LIMIT, EXCERPT_LIMIT = 32_000_000, 1_450_000
OWN_BYTES = 24_000  # of page.html, page.css and page.js together, at most
LARGE_SHARE = 0.5  # of a page's bytes are for large pictures; more, where all rows fit with small ones
LISTED_ROWS = 20_000
OOF, TEST = "oof", "test"  # kinds of galleries


@dataclass(frozen=True)
class Card:
    """A row of a gallery. `record` has the values of the script's `FIELDS` up to its picture.

    `sha256` names the image; it is empty where there is no usable one.
    `votes` are the letters (from 0; -1 for none) that the voters of the gallery give, `label` is the answer as the
    submission has it, and `notes` are lines below the row.
    """

    record: Sequence[Any]
    sha256: str
    image_file: str
    votes: Sequence[int] = ()
    label: str = ""
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Gallery:
    """What a page is about. `counts` are its numbers of rows: in total and, of OOF rows, how many are wrong."""

    kind: str
    title: str
    heading: str
    letters: Sequence[str]
    counts: Mapping[str, int]
    voters: Sequence[str] = field(default_factory=list)

    def facts(self) -> dict[str, Any]:
        """What the script reads besides the rows."""
        return {"kind": self.kind, "letters": list(self.letters), "voters": list(self.voters), **self.counts}


def write_gallery(gallery: Gallery, cards: Sequence[Card], limits: Mapping[Path, int], filled_by: str) -> None:
    """Write `cards`, in the order in which pages are filled, into each file of `limits` (most bytes, by path).

    A page says how many rows do not fit, and which ones it takes first (`filled_by`). The first file of `limits` is the
    whole page, the others are excerpts.
    """
    whole = next(iter(limits))
    listed = cards[:LISTED_ROWS]
    pictures = make_pictures({card.sha256: card.image_file for card in listed if card.sha256}, limits[whole])
    for path, limit in limits.items():
        data = gallery.facts() | page_data(listed, pictures, limit)
        left = gallery.counts["total"] - len(data["rows"])
        data["note"] = ""
        if left:
            more = "" if path == whole else f"; {whole.name} in the folder of results has more"
            data["note"] = f"{left:,} rows do not fit into this page, which takes {filled_by} first{more}"
            log.info("%s: %d of %d rows do not fit", path.name, left, gallery.counts["total"])
        write_text(path, render(gallery, data))


def page_data(cards: Sequence[Card], pictures: Pictures, limit: int) -> dict[str, Any]:
    """The rows and pictures for the script: as many `cards` as fit into a page of `limit` bytes, the first ones large.

    Large pictures take `LARGE_SHARE` of the page, or all that is left if each row has a small one.
    """
    data: dict[str, Any] = {"pictures": [], "sizes": [], "rows": []}
    places: dict[str, int] = {}
    rows = [[*card.record, 0, list(card.votes), card.label, list(card.notes)] for card in cards]
    bytes_of_rows = [len(as_json(row).encode()) + 8 for row in rows]
    left, kinds = limit - OWN_BYTES, {card.sha256 for card in cards}
    all_small = sum(bytes_of_rows) + sum(cost(pictures.small.get(kind)) for kind in kinds)
    large_left = max(LARGE_SHARE * limit, left - all_small)
    for card, row, size in zip(cards, rows, bytes_of_rows, strict=True):
        picture, large_left = picture_of(card, places, pictures, large_left)
        left -= size + cost(picture)
        if left < 0:
            break
        if picture:
            places[card.sha256] = len(places)
            data["pictures"].append(picture.data)
            data["sizes"].append(picture.sizes)
        row[len(card.record)] = places.get(card.sha256, -1)
        data["rows"].append(row)
    return data


def cost(picture: Picture | None) -> int:
    """The bytes of a picture on the page."""
    return len(picture.data) + 40 if picture else 0


def picture_of(
    card: Card, places: Mapping[str, int], pictures: Pictures, large_left: float
) -> tuple[Picture | None, float]:
    """The picture to add for a card (None if the page has it, or there is none), and what is left for large ones."""
    if card.sha256 in places:
        return None, large_left
    large = pictures.large.get(card.sha256)
    if large and cost(large) <= large_left:
        return large, large_left - cost(large)
    return pictures.small.get(card.sha256), large_left


def as_json(value: Any) -> str:
    """Compact JSON for a script element: no text in it can end the element."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def render(gallery: Gallery, data: Mapping[str, Any]) -> str:
    """The page, with `data` in it; page.html has a place in braces for each part."""
    markup, style, script = ((HERE / f"page.{kind}").read_text(encoding="utf-8") for kind in ("html", "css", "js"))
    style, script = f"\n{style}", f"\n{script}"  # an element's text begins on its own line
    texts = {
        "title": escape(gallery.title),
        "heading": escape(gallery.heading),
        "policy": escape(policy(style, script)),
    }
    return markup.format(**texts, style=style, script=script, data=as_json(data))


def policy(style: str, script: str) -> str:
    """A content security policy that allows only this style and this script, and no request to any address."""
    style_hash, script_hash = (base64.b64encode(hashlib.sha256(t.encode()).digest()).decode() for t in (style, script))
    return (
        f"default-src 'none'; img-src data:; style-src 'sha256-{style_hash}'; script-src 'sha256-{script_hash}'; "
        "base-uri 'none'; form-action 'none'"
    )
