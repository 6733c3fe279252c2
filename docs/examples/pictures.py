"""Draws the pictures of docs/how_it_works.md.

    python docs/examples/pictures.py

Each is a list of boxes, lines and words in a grid of pixels; a test compares the files with this code.
"""

from html import escape
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "docs" / "pictures"
INK, PALE, SHARED, BRANCH, RIGHT = "#222222", "#f2f2f2", "#cfe2f3", "#fde9c9", "#cfeccf"
FONT = "font-family='DejaVu Sans, Noto Sans, sans-serif'"


class Drawing:
    """An SVG picture that grows by parts."""

    def __init__(self, width: int, height: int, title: str) -> None:
        self.width, self.height, self.title = width, height, title
        self.parts: list[str] = []

    def box(self, x: int, y: int, width: int, height: int, text: str, fill: str = PALE) -> None:
        """A rectangle with words in its middle; lines are divided by line ends."""
        self.parts.append(
            f"<rect x='{x}' y='{y}' width='{width}' height='{height}' rx='4' fill='{fill}' stroke='{INK}'/>"
        )
        lines = text.split("\n")
        first = y + height / 2 + 4.5 - 8 * (len(lines) - 1)
        for number, line in enumerate(lines):
            self.words(x + width / 2, first + 16 * number, line, "middle")

    def words(self, x: float, y: float, text: str, anchor: str = "start", bold: bool = False) -> None:
        """One line of text; `y` is its base line."""
        weight = " font-weight='bold'" if bold else ""
        style = f"font-size='13' text-anchor='{anchor}' fill='{INK}'{weight}"
        self.parts.append(f"<text x='{x:g}' y='{y:g}' {style}>{escape(text)}</text>")

    def arrow(self, x1: float, y1: float, x2: float, y2: float) -> None:
        """A line with a head at its second end."""
        ends = f"x1='{x1:g}' y1='{y1:g}' x2='{x2:g}' y2='{y2:g}'"
        self.parts.append(f"<line {ends} stroke='{INK}' stroke-width='1.4' marker-end='url(#head)'/>")

    def svg(self) -> str:
        """The file."""
        head = "<marker id='head' viewBox='0 0 8 8' refX='8' refY='4' markerWidth='8' markerHeight='8' orient='auto'>"
        head += f"<path d='M0 0 L8 4 L0 8 z' fill='{INK}'/></marker>"
        size = f"viewBox='0 0 {self.width} {self.height}' width='{self.width}' height='{self.height}'"
        lines = [
            f"<svg xmlns='http://www.w3.org/2000/svg' {size} role='img' {FONT}>",
            f"<title>{escape(self.title)}</title>",
            f"<defs>{head}</defs>",
            f"<rect width='{self.width}' height='{self.height}' fill='white'/>",
            *self.parts,
            "</svg>",
        ]
        return "\n".join(lines) + "\n"


def alignment() -> Drawing:
    """Where a row is read, and what is compared there."""
    made = Drawing(760, 250, "The letters' logits are read at the position after the prompt, in training and scoring")
    made.words(20, 28, "one row, in one order of its choices", bold=True)
    parts = [("system", 70, PALE), ("image", 130, SHARED), ("question", 120, SHARED)]
    parts += [("a. 종이\nb. can\nc. jar\nd. box", 90, BRANCH), ("answer with\none letter", 100, BRANCH)]
    parts += [("assistant:", 90, PALE)]
    x = 20
    for text, width, fill in parts:
        made.box(x, 44, width, 76, text, fill)
        x += width + 4
    made.box(x, 44, 60, 76, "?", RIGHT)
    made.arrow(x - 46, 122, x - 46, 150)
    made.box(x - 186, 152, 246, 30, "hidden state of the last position", PALE)
    made.arrow(x - 46, 184, x - 46, 204)
    made.box(x - 186, 206, 246, 30, "logits of a, b, c, d only", RIGHT)
    made.words(20, 160, "training: cross-entropy of these logits")
    made.words(20, 180, "scoring: the same logits, kept in a file")
    made.words(20, 200, "no text is generated, and none is parsed")
    return made


def prefix() -> Drawing:
    """Four orders of the choices in one pass: by mask, and by state."""
    made = Drawing(760, 330, "Four choice orders share image and question: by mask, or by a state that is copied")
    made.words(20, 28, "by mask: one sequence; a branch sees the prefix and itself", bold=True)
    made.box(20, 40, 250, 40, "prefix: image, question", SHARED)
    for number, order in enumerate(("abcd", "bcda", "cdab", "dabc")):
        made.box(276 + 116 * number, 40, 110, 40, order, BRANCH)
        x = 331 + 116 * number
        made.parts.append(f"<line x1='{x}' y1='82' x2='{x}' y2='104' stroke='{INK}' stroke-width='1.4'/>")
        made.arrow(145, 104, 145, 82) if number == 0 else None
    made.parts.append(f"<line x1='145' y1='104' x2='679' y2='104' stroke='{INK}' stroke-width='1.4'/>")
    made.words(145, 120, "each branch attends to the prefix", "middle")
    made.words(300, 120, "positions as if alone; no branch sees another")
    made.words(20, 168, "by state: recurrent layers read the prefix once", bold=True)
    made.box(20, 210, 250, 40, "prefix: image, question", SHARED)
    made.arrow(272, 230, 318, 230)
    made.box(320, 210, 90, 40, "state S", RIGHT)
    for number, order in enumerate(("abcd", "bcda", "cdab", "dabc")):
        y = 182 + 36 * number
        made.arrow(412, 230, 478, y + 14)
        made.box(480, y, 110, 28, order, BRANCH)
    made.words(604, 222, "each starts from")
    made.words(604, 238, "a copy of S")
    made.words(20, 318, "both are exact: logits and gradients are those of four passes")
    return made


def folds() -> Drawing:
    """Rows that belong together share a fold; who has not seen a row answers it."""
    made = Drawing(760, 330, "Copies share a fold; a training row is answered by the adapter that has not seen it")
    made.words(20, 28, "training rows, grouped by image and question", bold=True)
    groups = [("photo 1\n+ its mirrored copy", 0), ("the same question\ntwice", 1), ("photo 2\n+ saved again", 2)]
    for text, number in groups:
        made.box(20 + 180 * number, 42, 170, 50, text, SHARED)
        made.arrow(105 + 180 * number, 94, 105 + 180 * number, 114)
        made.box(20 + 180 * number, 116, 170, 30, f"fold {number}", BRANCH)
        made.arrow(105 + 180 * number, 148, 105 + 180 * number, 178)
        others = " and ".join(str(other) for other in range(3) if other != number)
        made.box(20 + 180 * number, 180, 170, 50, f"adapter {number}:\ntrained on folds {others}", PALE)
        made.arrow(105 + 180 * number, 232, 105 + 180 * number, 256)
    made.box(20, 258, 530, 30, "out of fold (OOF): each adapter answers its own fold's rows", RIGHT)
    made.box(590, 180, 150, 50, "test rows:\nall adapters", SHARED)
    made.arrow(552, 205, 588, 205)
    made.arrow(665, 232, 665, 256)
    made.box(590, 258, 150, 30, "mean", RIGHT)
    made.words(20, 316, "OOF chooses and calibrates the pool; the same pool then makes the submission")
    return made


def staleness() -> Drawing:
    """What runs again after a change."""
    made = Drawing(760, 300, "A change runs again the rules that read it, and what follows")
    made.words(20, 28, "you change", bold=True)
    chain = ["tables", "folds", "adapters", "scores", "members", "pool"]
    changes = [
        ("a row of train.csv", 0),
        ("folds.seed", 1),
        ("train.epochs", 2),
        ("orders", 3),
        ("ensemble.pooling", 5),
        ("a comment, touch", 6),
    ]
    for column, name in enumerate(chain):
        made.words(212 + 92 * column, 28, name, "middle", bold=True)
    for number, (text, first) in enumerate(changes):
        y = 42 + 38 * number
        made.words(20, y + 20, text)
        for column in range(len(chain)):
            again = column >= first
            made.box(170 + 92 * column, y, 84, 30, "again" if again else "kept", BRANCH if again else RIGHT)
    made.words(
        20, 288, "a rule that writes the same bytes again stops the chain; finished adapters come back from the store"
    )
    return made


def pictures() -> dict[str, str]:
    """Each file's content by its name."""
    return {f"{draw.__name__}.svg": draw().svg() for draw in (alignment, prefix, folds, staleness)}


def main() -> None:
    """Draw all pictures."""
    FOLDER.mkdir(exist_ok=True)
    for name, text in pictures().items():
        (FOLDER / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
