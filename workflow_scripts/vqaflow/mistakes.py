"""The gallery of evaluate_oof: one HTML file of rows with their picture, question, choices and probabilities.

The file is whole by itself: pictures are small data URIs, and its content security policy keeps the browser from asking
anyone for anything. Text from the tables reaches the page as JSON and is shown as text only, never as markup.
"""

import base64
import hashlib
import io
import json
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd

from vqaflow.config import LETTERS
from vqaflow.ensemble_probabilities import PROBABILITIES
from vqaflow.errors import UserError
from vqaflow.files import write_text
from vqaflow.images import open_image
from vqaflow.mistakes_page import PAGE, SCRIPT, STYLE
from vqaflow.progress import ProgressBar, log

LISTED_ROWS = 10_000
PICTURE_EDGE = 176  # pixels; twice the size at which it is shown on a phone
PICTURE_QUALITY = 55
PICTURE_BYTES = 24_000_000  # of all pictures together, so that the page opens anywhere
PICTURES_AT_ONCE = 256


def write_mistakes(rows: pd.DataFrame, path: Path) -> None:
    """Write the page of `rows`, which evaluate_oof.read_rows made.

    It lists `LISTED_ROWS` rows at most: the wrong ones, the most confident first, then the right ones, the least
    confident first. Pictures beyond `PICTURE_BYTES` and those that cannot be read any more are left out, and both the
    page and the log say so.
    """
    listed = listed_rows(rows)
    pictures = make_pictures(listed)
    data = {
        "letters": list(LETTERS),
        "pictures": list(pictures.values()),
        "rows": records(listed, {sha256: place for place, sha256 in enumerate(pictures)}),
        "total": len(rows),
        "wrong": int((~rows["right"]).sum()),
    }
    write_text(path, render(data))


def listed_rows(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows that the page lists, in its first order."""
    doubt = rows["confidence"].where(rows["right"], -rows["confidence"])
    order = rows.assign(doubt=doubt).sort_values(["right", "doubt", "id"], kind="stable").index
    return rows.loc[order[:LISTED_ROWS]]


def make_pictures(rows: pd.DataFrame) -> dict[str, str]:
    """Small pictures in base64 by the digest of the original, as many as fit, in the order of `rows`."""
    files = dict(zip(rows["sha256"], rows["image_file"], strict=True))
    names, pictures, unreadable, left = list(files), {}, [], PICTURE_BYTES
    with ThreadPoolExecutor(os.cpu_count()) as pool, ProgressBar(len(names), "thumbnails", "image") as bar:
        for start in range(0, len(names), PICTURES_AT_ONCE):
            some = names[start : start + PICTURES_AT_ONCE]
            for name, picture in zip(some, pool.map(thumbnail, [files[n] for n in some]), strict=True):
                if isinstance(picture, UserError):
                    unreadable.append(picture)
                elif len(picture) <= left:
                    pictures[name] = base64.b64encode(picture).decode("ascii")
                    left -= len(picture)
            bar.advance(len(some))
            if left < PICTURE_BYTES / 1000:
                break
    if unreadable:
        log.warning("mistakes.html: %d pictures cannot be read (%s)", len(unreadable), unreadable[0])
    if missing := len(names) - len(pictures) - len(unreadable):
        log.warning("mistakes.html: %d pictures are left out, since the page would grow too large", missing)
    return pictures


def thumbnail(file: str) -> bytes | UserError:
    """A small WebP of an image, or why there is none."""
    try:
        image = open_image(file)
    except UserError as error:
        return error
    image.thumbnail((PICTURE_EDGE, PICTURE_EDGE))
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=PICTURE_QUALITY, method=4)
    return buffer.getvalue()


def records(rows: pd.DataFrame, places: Mapping[str, int]) -> list[list[Any]]:
    """Each row as the page's script reads it: a list in the order of its `FIELDS`."""
    columns = [
        rows["id"].tolist(),
        rows["question"].tolist(),
        rows[list(LETTERS)].to_numpy().tolist(),
        rows["qtype"].tolist(),
        rows["fold"].tolist(),
        rows["answer_index"].tolist(),
        rows["predicted"].tolist(),
        rows[PROBABILITIES].to_numpy().round(4).tolist(),
        [places.get(sha256, -1) for sha256 in rows["sha256"]],
    ]
    return [list(record) for record in zip(*columns, strict=True)]


def render(data: Mapping[str, Any]) -> str:
    """The page, with `data` in it as JSON that no text can end."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return PAGE.format(policy=escape(policy([STYLE], [SCRIPT])), style=STYLE, script=SCRIPT, data=text)


def policy(styles: Sequence[str], scripts: Sequence[str]) -> str:
    """A content security policy under which just these styles and scripts work, and no address is ever asked."""

    def sources(texts: Sequence[str]) -> str:
        hashes = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii") for text in texts)
        return " ".join(f"'sha256-{digest}'" for digest in hashes)

    return (
        f"default-src 'none'; img-src data:; style-src {sources(styles)}; script-src {sources(scripts)}; "
        "base-uri 'none'; form-action 'none'"
    )
