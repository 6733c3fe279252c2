"""The first settings of a competition: a file of few lines, each with what it says and why."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from vqaflow.data.competition.survey import Survey
from vqaflow.data.competition.tables import Table
from vqaflow.plan.first_choice import GPU, KAGGLE, Choice
from vqaflow.plan.machine import Machine
from vqaflow.plan.plan_text import duration
from vqaflow.runtime.errors import UserError
from vqaflow.runtime.files import write_text

NOT_IN_DIGESTS = True  # a plan is not a result
WORKFLOW_FILES = ("Snakefile", "config.yaml")
CARDS_OF_PROFILE = {KAGGLE: 2, GPU: 1}  # their resources: gpu
NO_LIMIT_HOURS = 12.0  # where no session ends a run: an evening and its night


@dataclass(frozen=True)
class FirstSettings:
    """What `vqaflow init` writes: the file, and a sample submission if the competition gave none."""

    output: Path
    survey: Survey
    machine: Machine
    choice: Choice
    hours: float

    @property
    def sample(self) -> Path:
        """The file that is written where the competition has no sample submission."""
        return self.output.with_name(f"{self.output.stem}.sample_submission.csv")

    @property
    def written(self) -> list[Path]:
        """The files that are written."""
        return [self.output] + ([self.sample] if self.survey.roles.sample is None else [])

    def write(self) -> None:
        """Write the files, of which none may exist."""
        refuse_existing(self.written)
        if self.survey.roles.sample is None:
            write_text(self.sample, sample_text(self.survey.roles.test))
        write_text(self.output, self.text())

    def text(self) -> str:
        """The file's lines."""
        keys = self.choice.keys
        lines = [
            f"# Settings of a first run, written by `vqaflow init {self.folder}` for {self.aim}.",
            "# They hold only what differs from config.yaml, where every key is explained.",
            "data:",
            *(f"  {line}" for line in self.data_lines()),
            "",
            *self.model_lines(keys["model"]),
            *self.train_lines(keys),
            "",
            "members:",
            "  main: {} # an adapter per fold",
            "  untuned: {train: none} # the base as it is: the first submission, later a member of the pool",
        ]
        hints = []
        if self.choice.settings:
            hints.append(f"  settings: {self.choice.settings} # what such a card needs; your keys override it")
        if self.machine.service:
            hints.append(f"  session_hours: {self.machine.service.session_hours:g} # {self.machine.service.name}")
        return "\n".join([*lines, *(["", "hardware:", *hints] if hints else [])]) + "\n"

    @property
    def folder(self) -> str:
        """The competition's folder, as paths are written."""
        return shown(self.survey.folder)

    @property
    def aim(self) -> str:
        """What the file is for."""
        return "a trial on any machine" if self.choice.is_trial else self.machine.title

    def data_lines(self) -> list[str]:
        """The section `data`, without its indentation."""
        seen, roles = self.survey, self.survey.roles
        sample = roles.sample.path if roles.sample else self.sample
        why = (
            "gives the ids, their order and the labels"
            if roles.sample
            else "made by init from the ids of the test table"
        )
        lines = [
            f"train_csv: {flow(shown(roles.train.path))} # {rows_of(roles.train)}",
            f"test_csv: {flow(shown(roles.test.path))} # {rows_of(roles.test)}",
            f"sample_submission: {flow(shown(sample))} # {why}",
            f"image_root: {flow(shown(seen.image_root))} # where the paths in the tables start from",
        ]
        if seen.test_root:
            lines.append(f"test_image_root: {flow(shown(seen.test_root))} # the same for the test table")
        if seen.encoding:
            lines.append(f"encoding: {flow(seen.encoding)} # of tables that are not UTF-8")
        if seen.columns:
            lines.append(f"columns: {flow(seen.columns)} # your names of id, image, question, choices, answer")
        if roles.more:
            lines.append("more_train: # further training tables")
            for table in roles.more:
                lines += [f"  {line}" for line in self.entry_lines(table)]
        if seen.people.get(roles.train.path):
            lines.append(f"answers_by: {flow(list(roles.train.guess.people))} # several people's answers")
        if seen.missing_choices:
            lines.append("missing_choices: accept # an empty cell is a choice that the row lacks")
        if seen.quarantine:
            lines.append("on_bad_row: quarantine # leaves out training rows that cannot be used, and lists them")
        if seen.follow_links:
            lines.append("follow_links: true # links in image_root lead out of it")
        return lines

    def entry_lines(self, table: Table) -> list[str]:
        """An entry of data.more_train."""
        seen, train = self.survey, self.survey.roles.train
        people = seen.people.get(table.path)
        who = f", answers of {people} people" if people else ""
        lines = [f"- csv: {flow(shown(table.path))} # {rows_of(table)}{who}"]
        if table.path in seen.roots:
            lines.append(f"  image_root: {flow(shown(seen.roots[table.path]))}")
        if table.path.stem == train.path.stem:
            lines.append(f"  name: {flow('_'.join(table.path.with_suffix('').parts[-2:]))} # its rows' source")
        if columns := own_columns(train, table):
            lines.append(f"  columns: {flow(columns)}")
        if people:
            lines.append(f"  answers_by: {flow(list(table.guess.people))}")
        elif seen.people.get(train.path):
            lines.append("  answers_by: null # one right answer per row")
        return lines

    def model_lines(self, model: Mapping[str, Any]) -> list[str]:
        """The section `model`."""
        if self.choice.is_trial:
            return [
                "model:",
                f"  base: {flow(model['base'])}",
                "  allow_demo_base: true # it knows only the demo's images",
            ]
        low, high = (round(model[key] / self.choice.shape.pixels**2) for key in ("min_pixels", "max_pixels"))
        side = self.choice.shape.pixels
        told = f"{low} to {high} visual tokens of {side} x {side} pixels"
        return [
            "model:",
            f"  base: {model['base']} # the best that fits; set `revision` to its commit for a real run",
            f"  quantization: {model['quantization']}",
            f"  compute_dtype: {model['compute_dtype']}",
            f"  min_pixels: {model['min_pixels']}",
            f"  max_pixels: {model['max_pixels']} # {told}; more shows small text, and takes longer",
        ]

    def train_lines(self, keys: Mapping[str, Any]) -> list[str]:
        """The section `train`, and views and orders if they are lighter than usual."""
        if self.choice.is_trial:
            return []
        train = keys["train"]
        size, count = train["batch_size"], train["accumulation"]
        lines = ["", "train:"]
        if "epochs" in train:
            lines.append(f"  epochs: {train['epochs']} # so that the run fits into {self.hours:g} hours")
        lines += [
            f"  batch_size: {size} # rows in one pass: the most that fit",
            f"  accumulation: {count} # passes per step",
            f"  gradient_checkpointing: {train['gradient_checkpointing']}",
        ]
        if "views" in keys:
            lines += ["", "views:", "  hflip: {enabled: false} # the mirrored view takes as long again"]
        if "orders" in keys:
            lines += ["", f"orders: {keys['orders']} # of the choices, in place of as many as there are choices"]
        return lines

    def report(self) -> list[str]:
        """What the terminal shows: what was found, assumed and not found out, the plan, and what to do next."""
        seen, choice = self.survey, self.choice
        lines = ["Found:", *indented(seen.found)]
        if seen.assumed or seen.roles.sample is None:
            extra = [f"no sample submission: {self.sample} is made from the test ids (data.sample_submission)"]
            lines += ["Assumed:", *indented([*(extra if seen.roles.sample is None else []), *seen.assumed])]
        if seen.unknown:
            lines += ["Could not tell, or is missing:", *indented(seen.unknown)]
        lines += ["Machine:", *indented(self.machine.lines()), "Plan:", *indented(self.plan_lines(choice))]
        lines += [f"Written: {', '.join(map(str, self.written))}", "Next:", *indented(self.next_lines())]
        return lines

    def plan_lines(self, choice: Choice) -> list[str]:
        """The chosen base, its hours, and what was passed over."""
        if choice.is_trial:
            return [f"base {choice.candidate.base}: a trial of the workflow, whose answers are guesses"]
        lines = [f"base {choice.candidate.base}, {self.choice.download_gb:.0f} GB to download, {choice.profile}"]
        first, whole = duration(choice.first_seconds), duration(choice.seconds)
        lines.append(f"on {self.machine.title}: first submission {first}, the whole run {whole} (estimated)")
        lines += [f"passed over {text}" for text in choice.passed_over]
        if choice.lighter:
            lines.append(f"lighter than the profile, for {self.hours:g} hours: {', '.join(choice.lighter)}")
        if not choice.in_time:
            lines.append(f"this is more than {self.hours:g} hours: start the run again after a session, and it goes on")
        if self.machine.is_here and choice.download_gb > self.machine.disk_gib:
            lines.append("the base does not fit on this disk: set HF_HOME to a folder on a larger one")
        return lines

    def next_lines(self) -> list[str]:
        """The commands that follow."""
        run = f"snakemake --configfile {shown(self.output)}"
        if not self.choice.is_trial:
            run += f" --profile {self.choice.profile}"
            if self.machine.cards != CARDS_OF_PROFILE[self.choice.profile]:
                run += f" --resources gpu={self.machine.cards}"
        there = [] if in_workflow() else ["in the folder of the workflow, where its Snakefile is:"]
        return [
            *there,
            f"{run} -- zero_shot   # the untuned base's submission: results/zero_shot/untuned.csv",
            f"{run}   # trains, and pools: results/submission.csv",
        ]


def refuse_existing(paths: Sequence[Path]) -> None:
    """Raise UserError if one of the files exists."""
    for path in paths:
        if path.exists() or path.is_symlink():
            raise UserError(f"{path}: it exists, and is left as it is. Name another file with --output, or remove it.")


def own_columns(train: Table, table: Table) -> dict[str, Any]:
    """The keys of `columns` in which a further table differs from the main one."""
    usual = {"id": "id", "image": "path", "question": "question", "answer": "answer", "choices": list("abcd")}
    general, own = usual | train.guess.config(), usual | table.guess.config()
    if not table.guess.answer:
        own["answer"] = general["answer"]
    return {key: value for key, value in own.items() if value != general[key]}


def sample_text(test: Table) -> str:
    """A sample submission with the ids of the test table and no answers."""
    import csv
    import io

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([test.guess.id, "answer"])
    writer.writerows((row_id, "") for row_id in test.column(test.guess.id))
    return text.getvalue()


def rows_of(table: Table) -> str:
    """The number of a table's rows."""
    return f"{table.opened.rows:,} rows"


def flow(value: Any) -> str:
    """A value as YAML in one line."""
    text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10**6, sort_keys=False)
    return text.removesuffix("\n").removesuffix("\n...")


def in_workflow() -> bool:
    """Whether the working directory is that of the workflow, in which Snakemake is run."""
    return all(Path(name).is_file() for name in WORKFLOW_FILES)


def shown(path: Path) -> str:
    """A path as Snakemake, run where init is run, finds it; an absolute one if Snakemake is run elsewhere."""
    here = Path.cwd()
    if not in_workflow():
        return str(path.absolute())
    return str(path.absolute().relative_to(here)) if path.absolute().is_relative_to(here) else str(path)


def indented(lines: Any) -> list[str]:
    """Lines below a heading."""
    return [f"  {line}" for line in lines]
