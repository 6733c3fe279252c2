"""Answers command lines of Snakemake in a fraction of the time: has it imported, and forks for each of them.

`python snakemake_server.py WORKFLOW` reads one JSON list of arguments a line; for each it runs the very `main` of the
command in a process of its own within WORKFLOW, and writes a line: the exit status and what was printed.
"""

import importlib
import json
import os
import sys
import tempfile
from pathlib import Path

import snakemake.cli


def run(arguments: list[str], modules: Path) -> None:
    """The child: what the command `snakemake` does; then note which modules it took."""
    sys.argv = ["snakemake", *arguments]
    status: object = 0
    try:
        snakemake.cli.main(arguments)
    except SystemExit as end:
        status = end.code
    if isinstance(status, str):  # as the interpreter does at its end
        print(status, file=sys.stderr)
        status = 1
    modules.write_text("\n".join(name for name in sys.modules if not name.startswith("vqaflow")))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(int(status or 0))


def answer(arguments: list[str], folder: Path) -> dict:
    """Fork, wait, and import what the child had to import itself, so that the next one need not."""
    printed, modules = folder / "printed", folder / "modules"
    child = os.fork()
    if child == 0:
        file = os.open(printed, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, 1)
        os.dup2(file, 2)
        run(arguments, modules)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    for name in modules.read_text().split() if modules.exists() else []:
        if name not in sys.modules and name != "__mp_main__" and "snakemake_executor_plugin" not in name:
            try:
                importlib.import_module(name)
            except Exception:  # noqa: BLE001, S112 - only speed is lost
                continue
    return {"status": status, "printed": printed.read_text(encoding="utf-8", errors="replace")}


if __name__ == "__main__":
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what importing prints must not be taken for a reply
    os.chdir(sys.argv[1])
    sys.path.insert(0, str(Path("workflow_scripts").resolve()))
    from vqaflow.runtime.code_digest import code_digest

    for script in Path("workflow_scripts").resolve().glob("*.py"):
        code_digest(script)  # which keeps what it has seen of each source
    with tempfile.TemporaryDirectory() as scratch:
        for line in sys.stdin:
            print(json.dumps(answer(json.loads(line), Path(scratch))), file=replies, flush=True)
