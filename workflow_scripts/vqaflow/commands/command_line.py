"""`vqaflow COMMAND`: finds a command's file by its name, parses its arguments and runs it.

A command is a file in one of `FOLDERS` with `add_arguments(parser)` and `run(arguments)`; its docstring is its help and
the first sentence its line in the list. Its own imports wait until it runs: `--help` loads no model library, and a GPU
is leased before torch is imported.
"""

import argparse
import ast
import importlib
import io
import sys
from collections.abc import Sequence
from pathlib import Path

from vqaflow.runtime.messages import DEBUG, nearest
from vqaflow.runtime.stage import stage

FOLDERS = {
    "rules": "Stages of the workflow, each run by hand with the name of its rule",
    "tools": "Tools",
    "handing": "Handing a run on",
    "machines": "Machines and their sessions",
}
HERE = Path(__file__).parent


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command that `arguments` (default: the process's own) name; exit status 2 if there is no such command."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal that lacks a sign shows its number
    words = list(sys.argv[1:] if arguments is None else arguments)
    is_first = words[:1] == [DEBUG]
    name, *rest = [*words[1:], DEBUG] if is_first and words[1:] else words or [""]
    if name in ("", "-h", "--help"):
        with stage(None):
            print(overview(), flush=True)
        raise SystemExit(0 if name else 2)
    known = commands()
    if (wanted := name.replace("-", "_")) not in known:
        close = nearest(wanted, known)
        hint = f"Did you mean {close}? " if close else ""
        print(f"vqaflow: there is no command {name!r}. {hint}See vqaflow --help.", file=sys.stderr)
        raise SystemExit(2)
    run(wanted, rest)


def run(name: str, arguments: Sequence[str]) -> None:
    """Parse the `arguments` of command `name` and run it, its log on the terminal."""
    with stage(None, debug=DEBUG in arguments):
        try:
            status = parse_and_run(name, arguments)
        finally:
            sys.stdout.flush()
    if status:
        raise SystemExit(status)


def parse_and_run(name: str, arguments: Sequence[str]) -> int | None:
    """Import the command, parse its arguments and run it. Returns its exit status."""
    command = importlib.import_module(f"vqaflow.commands.{commands()[name].parent.name}.{name}")
    told = (command.__doc__ or "").partition("\n\nShapes: ")[0]  # the legend is for those who read the code
    parser = argparse.ArgumentParser(
        prog=f"vqaflow {name}", description=told, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    command.add_arguments(parser)
    parser.add_argument(DEBUG, action="store_true", help="show the traceback of an unexpected error")
    parsed = parser.parse_args(arguments)
    del parsed.debug  # `run` has read it
    return command.run(parsed)


def commands() -> dict[str, Path]:
    """The file of each command, by its name."""
    files = [file for folder in FOLDERS for file in sorted((HERE / folder).glob("[!_]*.py"))]
    return {file.stem: file for file in files}


def overview() -> str:
    """What `vqaflow --help` prints: every command with a sentence."""
    lines = ["usage: vqaflow COMMAND …        (vqaflow COMMAND --help explains one; with --debug, it shows tracebacks)"]
    found = commands()
    width = max(map(len, found))
    for folder, title in FOLDERS.items():
        lines += ["", f"{title}:"]
        lines += [f"  {name:{width}}  {sentence(file)}" for name, file in found.items() if file.parent.name == folder]
    return "\n".join(lines)


def sentence(file: Path) -> str:
    """The first sentence of a command's docstring, read without importing it."""
    text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    return " ".join(text.split("\n\n")[0].split())
