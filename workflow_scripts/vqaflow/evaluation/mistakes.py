"""The gallery of evaluate_oof: an HTML file of rows with their picture, question, choices and probabilities.

The file needs no other file: pictures are small data URIs, and its content security policy keeps the browser from
requesting anything. Text from the tables reaches the page as JSON and is shown as text only, never as markup. The
page's parts are the files in `gallery/`.

Shapes: N rows, C choices.
"""

import base64
import hashlib
import io
import json
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd

from vqaflow.artifacts.columns import PEOPLE, letters_in, probabilities_in
from vqaflow.artifacts.rows import shares_in
from vqaflow.data.images.decoding import open_image
from vqaflow.reporting.agreement import counts_of
from vqaflow.runtime.errors import UserError
from vqaflow.runtime.files import write_text
from vqaflow.runtime.progress import ProgressBar
from vqaflow.runtime.stage import log

GALLERY = Path(__file__).with_name("gallery")
PAGE, EXCERPT = "mistakes.html", "mistakes_excerpt.html"
# Bytes of rows and pictures. Snakemake's report embeds pages in base64, and browsers show no embedded page of more than
# 2 MiB: the report gets an excerpt.
LIMITS = {PAGE: 32_000_000, EXCERPT: 1_450_000}
LISTED_ROWS = 20_000
PICTURE_EDGE = 160  # pixels
PICTURE_QUALITY = 50
PICTURES_AT_ONCE = 64
Notes = Mapping[str, list[str]]


def write_mistakes(rows: pd.DataFrame, folder: Path, notes: Notes | None = None) -> None:
    """Write the page of `rows` (see evaluate_oof.read_oof_rows) and an excerpt of it for Snakemake's report.

    Rows are listed up to the page's limit: first the wrong ones, the most confident first, then the right ones, the
    least confident first. The page says how many are not listed. `notes` are lines about rows, by their ids.
    """
    ordered = listing_order(rows)
    pictures = make_pictures(ordered)
    for name, limit in LIMITS.items():
        data = page_data(ordered, pictures, limit, notes or {})
        left = len(rows) - len(data["rows"])
        data["total"], data["wrong"] = len(rows), int((~rows["right"]).sum())
        data["note"] = ""
        if left:
            more = f"; {PAGE} in the evaluation folder has more" if name == EXCERPT else ""
            data["note"] = f"{left:,} rows do not fit into this page, which wrong ones fill first{more}"
            log.info("%s: %d of %d rows do not fit", name, left, len(rows))
        write_text(folder / name, render(data))


def listing_order(rows: pd.DataFrame) -> pd.DataFrame:
    """The first `LISTED_ROWS` rows, in the order in which pages are filled."""
    doubt = rows["confidence"].where(rows["right"], -rows["confidence"])
    order = rows.assign(doubt=doubt).sort_values(["right", "doubt", "id"], kind="stable").index
    return rows.loc[order[:LISTED_ROWS]]


def make_pictures(rows: pd.DataFrame) -> dict[str, str]:
    """Small pictures in base64, by the digest of the original, in the order of `rows` until the page is full."""
    files = dict(zip(rows["sha256"], rows["image_file"], strict=True))
    names, pictures, unreadable, size = list(files), {}, [], 0
    with ThreadPoolExecutor(os.cpu_count()) as pool, ProgressBar(len(names), "thumbnails", "image") as bar:
        for start in range(0, len(names), PICTURES_AT_ONCE):
            batch = names[start : start + PICTURES_AT_ONCE]
            for name, picture in zip(batch, pool.map(thumbnail, [files[n] for n in batch]), strict=True):
                if isinstance(picture, UserError):
                    unreadable.append(picture)
                else:
                    pictures[name] = base64.b64encode(picture).decode("ascii")
                    size += len(pictures[name])
            bar.advance(len(batch))
            if size > LIMITS[PAGE]:
                break
    if unreadable:
        log.warning("%s: %d pictures cannot be read and are left out (%s)", PAGE, len(unreadable), unreadable[0])
    return pictures


def thumbnail(file: str) -> bytes | UserError:
    """A small WebP of an image, or the error if it cannot be read."""
    try:
        image = open_image(file)
    except UserError as error:
        return error
    image.thumbnail((PICTURE_EDGE, PICTURE_EDGE))
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=PICTURE_QUALITY, method=4)
    return buffer.getvalue()


def page_data(rows: pd.DataFrame, pictures: Mapping[str, str], limit: int, notes: Notes) -> dict[str, Any]:
    """What the page's script reads, with as many of `rows` and their pictures as fit into `limit` bytes."""
    data: dict[str, Any] = {"letters": list(letters_in(rows)), "pictures": [], "rows": []}
    places: dict[str, int] = {}
    for sha256, record in zip(rows["sha256"], records(rows), strict=True):
        picture = None if sha256 in places else pictures.get(sha256)
        said = [notes[record[0]]] if record[0] in notes else []
        limit -= len(as_json([*record, *said]).encode()) + len(picture or "") + 12
        if limit < 0:
            break
        if picture is not None:
            places[sha256] = len(places)
            data["pictures"].append(picture)
        data["rows"].append([*record, places.get(sha256, -1), *said])
    return data


def records(rows: pd.DataFrame) -> Iterator[list[Any]]:
    """Each row as a list in the order of the script's `FIELDS`, without the picture's place and the notes.

    The text of a choice that a row lacks is None.
    """
    choices = rows[list(letters_in(rows))]
    columns = [
        rows["id"].tolist(),
        rows["question"].tolist(),
        [[text or None for text in texts] for texts in choices.fillna("").to_numpy().tolist()],
        rows["qtype"].tolist(),
        rows["fold"].tolist(),
        rows["answer_index"].tolist(),
        rows["predicted"].tolist(),
        rows[probabilities_in(rows)].to_numpy().round(4).tolist(),
        given_answers(rows),
    ]
    yield from map(list, zip(*columns, strict=True))


def given_answers(rows: pd.DataFrame) -> list[list[int]]:
    """How many people gave each choice; empty for rows with one answer."""
    shares_NC = shares_in(rows)
    if shares_NC is None:
        return [[]] * len(rows)
    counts_NC = counts_of(shares_NC, rows[PEOPLE].to_numpy()).astype(int)
    return [counts_C.tolist() if counts_C.sum() > 1 else [] for counts_C in counts_NC]


def as_json(value: Any) -> str:
    """Compact JSON for a script element: no text in it can end the element."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def render(data: Mapping[str, Any]) -> str:
    """The page, with `data` in it; page.html has a place in braces for each part."""
    markup, style, script = ((GALLERY / f"page.{kind}").read_text(encoding="utf-8") for kind in ("html", "css", "js"))
    style, script = f"\n{style}", f"\n{script}"  # an element's text begins on its own line
    return markup.format(policy=escape(policy(style, script)), style=style, script=script, data=as_json(data))


def policy(style: str, script: str) -> str:
    """A content security policy that allows only this style and this script, and no request to any address."""
    style_hash, script_hash = (base64.b64encode(hashlib.sha256(t.encode()).digest()).decode() for t in (style, script))
    return (
        f"default-src 'none'; img-src data:; style-src 'sha256-{style_hash}'; script-src 'sha256-{script_hash}'; "
        "base-uri 'none'; form-action 'none'"
    )
