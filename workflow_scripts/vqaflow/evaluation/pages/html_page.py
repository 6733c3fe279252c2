"""Parts of a page as HTML: every text is escaped here, and the page needs no script and no other file."""

import base64
import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

STYLE = Path(__file__).with_name("page.css")
PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<header>
<h1>{title}</h1>
{lead}
</header>
<main>
{main}
</main>
</body>
</html>
"""


@dataclass(frozen=True)
class Cell:
    """A cell of a table: its text, and how it looks (text, good, bad, changed; several with a space between them)."""

    text: str
    look: str = ""


@dataclass(frozen=True)
class Span:
    """A line of `intervals`: a share with its interval, and whether it is one of those that the page is about."""

    name: str
    value: float
    bounds: tuple[float, float]
    text: str
    picked: bool = False


def page(title: str, lead: Iterable[str], parts: Iterable[str]) -> str:
    """A page: `lead` are sentences below the title, `parts` are HTML made by the functions below."""
    style = "\n" + STYLE.read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    return PAGE.format(
        policy=escape(policy),
        title=escape(title),
        style=style,
        lead="\n".join(f'<p class="soft">{escape(line)}</p>' for line in lead),
        main="\n".join(parts),
    )


def heading(text: str) -> str:
    """The title of a section."""
    return f"<h2>{escape(text)}</h2>"


def large_number(number: str, text: str) -> str:
    """The number that a page is about, and what it is."""
    return f'<p class="number"><strong>{escape(number)}</strong> {escape(text)}</p>'


def paragraphs(lines: Iterable[str], look: str = "") -> str:
    """Each line as a paragraph."""
    return "\n".join(f'<p class="{look}">{escape(line)}</p>' if look else f"<p>{escape(line)}</p>" for line in lines)


def box(title: str, lines: Iterable[str], look: str = "card") -> str:
    """A framed part with a title: a card, or a warning."""
    return f'<section class="{look}"><h3>{escape(title)}</h3>{paragraphs(lines)}</section>'


def cards(boxes: Iterable[str]) -> str:
    """Boxes beside each other where there is room."""
    return f'<div class="cards">{"".join(boxes)}</div>'


def table(header: Sequence[str], rows: Iterable[Sequence[Cell]], label: str) -> str:
    """A table; the first cell of each row is its name. A narrow screen scrolls the table, not the page."""
    lines, looks = [], [""] * len(header)
    for first, *others in rows:
        looks = ["", *("text" if "text" in cell.look else "" for cell in others)]
        cells = "".join(_cell(cell) for cell in others)
        lines.append(f'<tr><th scope="row">{_breakable(first.text)}</th>{cells}</tr>')
    head = "".join(
        f'<th scope="col" class="{look}">{_breakable(name)}</th>' for name, look in zip(header, looks, strict=True)
    )
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(label)}"><table>'
        f"<thead><tr>{head}</tr></thead>\n<tbody>{chr(10).join(lines)}</tbody></table></div>"
    )


def _cell(cell: Cell) -> str:
    return f'<td class="{cell.look}">{escape(cell.text)}</td>' if cell.look else f"<td>{escape(cell.text)}</td>"


def _breakable(text: str) -> str:
    """A text whose lines may end behind a dot, an underscore or a slash."""
    return re.sub(r"(?<=[._/])", "<wbr>", escape(text))


def folded(title: str, inner: str) -> str:
    """A part that is closed until the reader opens it."""
    return f"<details><summary>{escape(title)}</summary>\n{inner}\n</details>"


def intervals(spans: Sequence[Span], caption: str) -> str:
    """Shares and their intervals on one scale; the dashed line is the first one's share."""
    low, high = min(span.bounds[0] for span in spans), max(span.bounds[1] for span in spans)
    width = max(high - low, 1e-9)
    lines = [_span_line(span, spans[0], low, width) for span in spans]
    return f"<figure><ol>{''.join(lines)}</ol><figcaption>{escape(caption)}</figcaption></figure>"


def _span_line(span: Span, reference: Span, low: float, width: float) -> str:
    def at(share: float) -> str:
        return f"{2 + 96 * (share - low) / width:.2f}%"

    left, right, middle, dashed = map(at, (*span.bounds, span.value, reference.value))
    drawing = (
        '<svg role="presentation" aria-hidden="true"><line class="track" x1="0" x2="100%" y1="11" y2="11"/>'
        f'<line class="reference" x1="{dashed}" x2="{dashed}" y1="0" y2="22"/>'
        f'<line class="interval" x1="{left}" x2="{right}" y1="11" y2="11"/>'
        f'<circle class="point" cx="{middle}" cy="11" r="4.5"/></svg>'
    )
    look = ' class="picked"' if span.picked else ""
    return f"<li{look}><span>{escape(span.name)}</span>{drawing}<span>{escape(span.text)}</span></li>"
