"""Plays a first evening from `vqaflow init` to the report, and writes docs/first_evening.md: what each step printed.

    python docs/examples/first_evening.py

It works in a copy of the workflow in a temporary folder, twice: on the photographs of a real competition, which lie in
the folder named by VQAFLOW_REAL_DATA (without it, the page keeps what it has of them), and on the demo's tables at
small size. Both train the demo's tiny base, so that the evening takes minutes and needs no GPU.
"""

import csv
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
PAGE = REPOSITORY / "docs" / "first_evening.md"
PARTS = ["Snakefile", "config.yaml", "rules", "workflow_scripts", "schemas", "envs", "profiles", "docs", "assets"]
DEMO_ROWS = {"train_rows": 60, "test_rows": 40}
REAL, DEMO = "The photographs of a real competition", "The demo's tables"
# Lines of Snakemake about its jobs; what the stages and vqaflow itself print is kept.
NOISE = re.compile(
    r"^\[\w{3} \w{3}|^(Job |Reason: |Finished jobid|Select jobs|Execute |Building DAG|Using |Provided |Rules claiming|"
    r"Job stats|job +count|-+ +-+|total +\d|Resources before|Complete log|Elapsed|Assuming|host: |Config file|"
    r"SNAKEMAKE$|=+$|  [A-Z][A-Za-z0-9() ]*: |Conda environments|Creating report|Adding |Loading script|"
    r"Reasons:|\d+ of \d+ steps|Touching|Unlocking|localrule|rule |    |\w+ +\d+$)"
)


@dataclass(frozen=True)
class Step:
    """A command, and the sentence that introduces it."""

    why: str
    command: str


STEPS = (
    Step(
        "**The settings for a real card.** Name yours with `--card`, or leave it out on the machine itself.",
        "vqaflow init data --card l4 --output l4.yaml",
    ),
    Step("**The file that it wrote.**", "cat l4.yaml"),
    Step(
        "**The plan** of the whole run, before a GPU is rented.",
        "vqaflow plan --config l4.yaml --card l4",
    ),
    Step(
        "**A trial on this machine.** The demo's tiny base needs no GPU. It shows that tables, images and labels are "
        "right; its answers are guesses.",
        "vqaflow init data --base assets/tiny-qwen2_5-vl",
    ),
    Step(
        "For the trial, two folds and one view are enough.",
        "printf 'folds: {n: 2}\\nviews: {hflip: {enabled: false}}\\n' >> my.yaml",
    ),
    Step(
        "**The first submission**, from the base as it is.",
        "snakemake --configfile my.yaml -- zero_shot",
    ),
    Step(
        "**The tuned run**, which goes on from there.",
        "snakemake --configfile my.yaml",
    ),
    Step(
        "**The report**: one page to read and to pass on.",
        "snakemake --configfile my.yaml --report results/report.html",
    ),
    Step(
        "**Where everything is.**",
        "ls results/zero_shot/untuned.csv results/submission.csv results/submission.validated.json "
        "results/evaluation/metrics.json results/evaluation/mistakes.html results/report.html",
    ),
)


def main() -> None:
    """Play what can be played, and write the page."""
    parts = {title: text for title, text in sections(PAGE)} if PAGE.is_file() else {}
    for title, make in ((REAL, real_folder), (DEMO, demo_folder)):
        with tempfile.TemporaryDirectory() as temporary:
            work = copy_of_workflow(Path(temporary) / "vqaflow")
            if make(work / "data"):
                parts[title] = "\n".join(play(work))
    PAGE.write_text(page(parts), encoding="utf-8")
    print(f"{PAGE}: written")


def page(parts: dict[str, str]) -> str:
    """The whole page."""
    head = f"""# The first evening

Three commands lead from a competition's folder to a tuned submission:

    {commands()[0].replace(" --card l4 --output l4.yaml", "")}
    snakemake --configfile my.yaml --profile PROFILE -- zero_shot
    snakemake --configfile my.yaml --profile PROFILE

`vqaflow init` prints the last two with the profile that fits. Below, the evening is played step by step, with what each
step printed and how long it took, by `python docs/examples/first_evening.py`. Snakemake's lines about its jobs and the
times of log lines are left out. The times are those of a machine with two
processor cores and no GPU, on which other work ran: they say which steps are long, not how fast a GPU is.

In the output, `data` is the competition's folder. To have both runs in one command, the first submission first, run
`snakemake --configfile my.yaml --prioritize zero_shot -- zero_shot all`.
"""
    return "\n".join([head, *(f"## {title}\n\n{parts[title].strip()}\n" for title in (REAL, DEMO) if title in parts)])


def sections(path: Path) -> Iterator[tuple[str, str]]:
    """The parts of the page below headings, by heading."""
    for part in re.split(r"^## ", path.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
        title, _, text = part.partition("\n")
        yield title, text


def commands() -> list[str]:
    """The commands of an evening."""
    return [step.command for step in STEPS]


def copy_of_workflow(target: Path) -> Path:
    """The files of the workflow in a folder of their own."""
    target.mkdir()
    for name in PARTS:
        if (REPOSITORY / name).is_dir():
            shutil.copytree(REPOSITORY / name, target / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copyfile(REPOSITORY / name, target / name)
    return target


def real_folder(target: Path) -> bool:
    """The rows of a real competition whose photographs are there, as a folder of its own; False without real data."""
    source = Path(os.environ.get("VQAFLOW_REAL_DATA", "no real data")) / "recycling2026"
    if not source.is_dir():
        print(f"{source}: there is no such folder. Set VQAFLOW_REAL_DATA to play the evening on real tables.")
        return False
    for name in ("train", "dev", "test"):
        rows = [row for row in read(source / f"{name}.csv") if (source / row["path"]).is_file()]
        write(target / f"{name}.csv", rows)
        for row in rows:
            (target / row["path"]).parent.mkdir(exist_ok=True)
            shutil.copyfile(source / row["path"], target / row["path"])
    sample = [{"id": row["id"], "answer": "a"} for row in read(target / "test.csv")]
    write(target / "example_submission.csv", sample)
    return True


def demo_folder(target: Path) -> bool:
    """The demo's tables and images at small size."""
    settings = target.parent / "small.yaml"
    rows = ", ".join(f"{key}: {count}" for key, count in DEMO_ROWS.items())
    settings.write_text(f"data: {{demo: {{{rows}}}}}", encoding="utf-8")
    run(f"vqaflow prepare_demo --config {settings.name}", target.parent)
    shutil.move(target.parent / "results" / "demo", target)
    settings.unlink()
    return True


def read(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def write(path: Path, rows: list[dict[str, str]]) -> None:
    """Write rows as a CSV file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def play(work: Path) -> Iterator[str]:
    """Run all steps in `work`; their lines of the page. Stops at a step that fails."""
    for step in STEPS:
        print(f"$ {step.command}", flush=True)
        began = time.monotonic()
        printed = run(step.command, work)
        took = time.monotonic() - began
        yield f"{step.why}\n"
        yield f"    $ {step.command}"
        yield from (f"    {line}".rstrip() for line in cleaned(printed, work))
        yield f"\n{seconds(took)}\n"


def run(command: str, work: Path) -> str:
    """What a command prints. Ends the program if it fails."""
    paths = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = os.environ | {"PATH": paths, "PYTHONPATH": "workflow_scripts", "COLUMNS": "120"}
    if command.startswith("vqaflow "):
        command = f"{shlex.quote(sys.executable)} -m {command}"
    done = subprocess.run(
        command, shell=True, cwd=work, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    if done.returncode:
        sys.exit(f"{command}: it ended with status {done.returncode}\n{done.stdout}")
    return done.stdout


def cleaned(printed: str, work: Path) -> Iterator[str]:
    """The lines to show: without Snakemake's about its jobs, clock times, and this machine's paths."""
    is_snakemake = "SNAKEMAKE" in printed or "Building DAG" in printed
    for line in printed.replace("\r", "\n").splitlines():
        if is_snakemake and (NOISE.match(line) or not line.strip()):
            continue
        line = re.sub(r"^\d\d:\d\d:\d\d (\w) ", r"\1 ", line)
        yield line.replace(f"{work}/", "").replace(str(work), ".")


def seconds(took: float) -> str:
    """How long a step took, in words."""
    if took >= 90:
        return f"Took {took / 60:.0f} minutes."
    return f"Took {took:.0f} seconds." if took >= 1.5 else "Took a second or less."


if __name__ == "__main__":
    main()
