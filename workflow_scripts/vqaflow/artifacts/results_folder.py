"""A results folder: the only place in the package that knows its paths.

A member's `part` says which rows an adapter was trained without, or that there is none: see `artifacts/parts.py`.
"""

import json
from dataclasses import dataclass
from pathlib import Path

TABLES = {"oof": "train", "test": "test"}  # the table whose rows a split scores
MEMBER_NOTE = "member.json"


@dataclass(frozen=True)
class MemberFolder:
    """What a member says of each row, in results/members/{member}."""

    folder: Path

    @property
    def note(self) -> Path:
        """What the member is, and what it cost."""
        return self.folder / MEMBER_NOTE

    def answers(self, split: str) -> Path:
        """The member's own probabilities of a split, oof or test."""
        return self.folder / f"{split}.parquet"

    def views(self, split: str) -> Path:
        """The log-probabilities of each view, and for test rows of each part."""
        return self.folder / f"{split}_views.parquet"


@dataclass(frozen=True)
class ResultsFolder:
    """The path of each artifact of a run under `folder`."""

    folder: Path

    def table(self, name: str) -> Path:
        """The checked table `name`, train or test."""
        return self.folder / "tables" / f"{name}.parquet"

    def table_of(self, split: str) -> Path:
        """The checked table whose rows the split `split`, oof or test, scores."""
        return self.table(TABLES[split])

    @property
    def problems(self) -> Path:
        """The list of problems in the user's tables."""
        return self.folder / "tables" / "problems.csv"

    @property
    def labels(self) -> Path:
        """Which labels the answers and the submission are written in."""
        return self.folder / "tables" / "labels.json"

    @property
    def images(self) -> Path:
        """Which bytes each image had when the tables were made (see data/images/changes.py)."""
        return self.folder / "tables" / "images.json"

    @property
    def image_times(self) -> Path:
        """When images that have these bytes were last changed."""
        return self.folder / "work" / "image_times.json"

    @property
    def to_score(self) -> Path:
        """Which scorings a run does (see scoring/others.py)."""
        return self.folder / "work" / "to_score.json"

    @property
    def folds(self) -> Path:
        """Fold and group of each training row."""
        return self.folder / "folds.parquet"

    @property
    def fold_report(self) -> Path:
        """The report on how even the folds are, and on images that are also in the test table."""
        return self.folder / "folds.report.json"

    @property
    def exploration(self) -> Path:
        """The folder of summary.json and the figures of what the tables contain."""
        return self.folder / "eda"

    @property
    def bases(self) -> Path:
        """The folder of quantised bases."""
        return self.folder / "base"

    def base_note(self, member: str) -> Path:
        """Which folder of `bases` a member uses."""
        return self.folder / f"base.{member}.json"

    def adapter(self, member: str, part: str | int) -> Path:
        """The folder of one of a member's adapters."""
        return self.folder / "adapters" / member / f"fold{part}"

    def adapters(self, member: str) -> list[Path]:
        """The folders of all existing adapters of a member."""
        return sorted(self.folder.glob(f"adapters/{member}/fold*"))

    def merged(self, member: str, part: str | int) -> Path:
        """The checkpoint with one of a member's adapters merged into its base."""
        return self.folder / "merged" / member / f"fold{part}"

    def tracking(self, member: str, part: str | int) -> Path:
        """What trackers write about a training."""
        return self.folder / "tracking" / member / f"fold{part}"

    def scores(self, member: str, split: str, part: str | int, view: str) -> Path:
        """A view's scores of a split by one of a member's adapters, or by its untuned base."""
        return self.folder / "scores" / member / split / f"fold{part}" / f"{view}.parquet"

    def all_scores(self, member: str = "*") -> list[Path]:
        """All existing score files, or those of one member."""
        return sorted(self.folder.glob(f"scores/{member}/*/fold*/*.parquet"))

    def member(self, name: str) -> MemberFolder:
        """What a member says."""
        return MemberFolder(self.folder / "members" / name)

    def teacher(self, name: str | None) -> Path | None:
        """What the member that teaches says of the training rows (OOF), if there is one."""
        return self.member(name).answers("oof") if name else None

    def members(self) -> list[str]:
        """The names of the members of the pool; before there is one, of all that have a folder.

        Folders of members that are no longer in the configuration stay, so that these come back at no cost.
        """
        try:
            return sorted(member["name"] for member in json.loads(self.recipe.read_text(encoding="utf-8"))["members"])
        except (OSError, ValueError, LookupError, TypeError):  # none yet, damaged, or of version 0.1
            return sorted(note.parent.name for note in self.folder.glob(f"members/*/{MEMBER_NOTE}"))

    def probabilities(self, split: str) -> Path:
        """The ensemble's probabilities of a split, oof or test."""
        return self.folder / "ensemble" / f"{split}.parquet"

    @property
    def recipe(self) -> Path:
        """What ensemble_probabilities chose and learned."""
        return self.folder / "ensemble" / "recipe.json"

    @property
    def evaluation(self) -> Path:
        """The folder of metrics.json, figures and the gallery."""
        return self.folder / "evaluation"

    @property
    def metrics(self) -> Path:
        """The numbers of the evaluation."""
        return self.evaluation / "metrics.json"

    @property
    def submission(self) -> Path:
        """The file to submit."""
        return self.folder / "submission.csv"

    @property
    def test_answers(self) -> Path:
        """The gallery of the test answers."""
        return self.folder / "answers" / "test_answers.html"

    @property
    def validated(self) -> Path:
        """The report that the submission is valid."""
        return self.folder / "submission.validated.json"

    def search(self, member: str) -> Path:
        """The folder of what a hyper-parameter search found for a member."""
        return self.folder / "hpo" / member

    def searches(self) -> list[Path]:
        """The folders of all searches."""
        return sorted(path for path in self.folder.glob("hpo/*") if path.is_dir())

    def worker(self, member: str, number: int) -> Path:
        """The report of a search worker."""
        return self.search(member) / "workers" / f"worker{number}.json"

    def workers(self, member: str) -> list[Path]:
        """The reports of all workers of a search."""
        return sorted(self.search(member).glob("workers/worker*.json"))

    @property
    def demo(self) -> Path:
        """The demo's tables, images and answers."""
        return self.folder / "demo"

    @property
    def demo_answers(self) -> Path:
        """The right answers of the demo's test rows."""
        return self.demo / "test_answers.csv"

    def training_work(self, member: str, part: str | int) -> Path:
        """Plan and checkpoints of an unfinished training."""
        return self.folder / "work" / "train" / member / f"fold{part}"

    def scoring_work(self, member: str, split: str, part: str | int, view: str) -> Path:
        """The shards of an unfinished scoring."""
        return self.folder / "work" / "scores" / member / split / f"fold{part}" / view

    def search_work(self, member: str) -> Path:
        """The study of a member's search and its trials' checkpoints."""
        return self.folder / "work" / "hpo" / member

    @property
    def vision(self) -> Path:
        """Image features that jobs share."""
        return self.folder / "work" / "vision"

    @property
    def store(self) -> Path:
        """Finished adapters and scores, unless hardware.store names another folder."""
        return self.folder / "store"


RESULTS = ResultsFolder(Path("results"))  # in the working directory, as Snakemake's rules name it
