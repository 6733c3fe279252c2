"""Writes the plans of docs/recipes: what `vqaflow plan` prints for each page's my.yaml and a made-up competition.

    python docs/examples/recipes.py

The competition has 4,000 training and 4,000 test rows and a table that five people answered; its photographs are grey.
"""

import contextlib
import csv
import io
import os
import re
import shlex
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from vqaflow.commands.command_line import main as vqaflow

REPOSITORY = Path(__file__).parents[2]
FOLDER = REPOSITORY / "docs" / "recipes"
ROWS, DEV_ROWS, PICTURES = 4000, 2000, 20
COLUMNS = ["id", "path", "question", "a", "b", "c", "d"]
PEOPLE = [f"answer{number}" for number in range(1, 6)]
TIME = re.compile(r"^\d\d:\d\d:\d\d ")  # of a log line
PLAN = re.compile(r"```\n\$ (vqaflow plan [^\n]*)\n.*?```", re.DOTALL)
SETTINGS = re.compile(r"```yaml\n(.*?)```", re.DOTALL)
COMMANDS = re.compile(r"Run it:\n\n```\n(.*?)```", re.DOTALL)


def main() -> None:
    """Write each page's plan."""
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        make_folder(work)
        for page in pages():
            page.write_text(filled(page.read_text(encoding="utf-8"), work), encoding="utf-8")
            print(f"{page}: written")


def pages() -> list[Path]:
    """The recipes, without their index."""
    return [page for page in sorted(FOLDER.glob("*.md")) if page.name != "README.md"]


def make_folder(work: Path) -> None:
    """What a plan reads: the competition's tables and pictures, and the checkout's settings."""
    for part in ("config.yaml", "profiles", "assets", "schemas"):
        copy = shutil.copytree if (REPOSITORY / part).is_dir() else shutil.copyfile
        copy(REPOSITORY / part, work / part)
    (work / "data").mkdir()
    for number in range(PICTURES):
        Image.new("RGB", (960, 720), (number, 128, 128)).save(work / "data" / f"{number}.jpg")
    for name, count, answers in (("train", ROWS, ["answer"]), ("dev", DEV_ROWS, PEOPLE), ("test", ROWS, [])):
        lines = (made_row(name, number, len(answers)) for number in range(count))
        write_table(work / "data" / f"{name}.csv", [*COLUMNS, *answers], lines)
    write_table(work / "data" / "sample_submission.csv", ["id", "answer"], ([f"test{n}", "a"] for n in range(ROWS)))


def made_row(name: str, number: int, answers: int) -> list[str]:
    """A row of a table: id, picture, question, four choices, and so many answers."""
    question = f"Which of these can be seen to the left of object {number} in this photograph?"
    choices = [f"{thing} number {number}" for thing in ("bottle", "paper cup", "can", "box of cardboard")]
    return [f"{name}{number}", f"{number % PICTURES}.jpg", question, *choices, *["abcd"[number % 4]] * answers]


def write_table(path: Path, columns: Sequence[str], rows: object) -> None:
    """A CSV file."""
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([columns, *rows])


def filled(text: str, work: Path) -> str:
    """A page with the plan that its settings have in the folder `work`."""
    (work / "my.yaml").write_text(SETTINGS.search(text)[1], encoding="utf-8")
    command = PLAN.search(text)[1]
    return PLAN.sub(lambda _: f"```\n$ {command}\n{printed(command, work)}```", text)


def printed(command: str, work: Path) -> str:
    """What a command of vqaflow prints in a folder."""
    program, *arguments = shlex.split(command)
    assert program == "vqaflow"
    told, before = io.StringIO(), Path.cwd()
    os.chdir(work)
    try:
        with contextlib.redirect_stdout(told), contextlib.redirect_stderr(told):
            vqaflow(arguments)
    finally:
        os.chdir(before)
    lines = [TIME.sub("", line).rstrip() for line in told.getvalue().strip().splitlines()]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
