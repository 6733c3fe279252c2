"""A results folder: the only place in the package that knows its paths."""

from dataclasses import dataclass
from pathlib import Path

TABLES = {"oof": "train", "test": "test"}  # the table whose rows a split scores


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

    @property
    def base_note(self) -> Path:
        """Which folder of `bases` this run uses."""
        return self.folder / "base.json"

    def adapter(self, fold: int) -> Path:
        """The folder of a fold's adapter."""
        return self.folder / "adapters" / f"fold{fold}"

    def adapters(self) -> list[Path]:
        """The folders of all existing adapters."""
        return sorted(self.folder.glob("adapters/fold*"))

    def tracking(self, fold: int) -> Path:
        """What trackers write about a fold's training."""
        return self.folder / "tracking" / f"fold{fold}"

    def scores(self, split: str, fold: int, view: str) -> Path:
        """A view's scores of a split by a fold's adapter."""
        return self.folder / "scores" / split / f"fold{fold}" / f"{view}.parquet"

    def all_scores(self) -> list[Path]:
        """All existing score files."""
        return sorted(self.folder.glob("scores/*/fold*/*.parquet"))

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
    def validated(self) -> Path:
        """The report that the submission is valid."""
        return self.folder / "submission.validated.json"

    @property
    def search(self) -> Path:
        """The folder of what a hyper-parameter search found."""
        return self.folder / "hpo"

    def worker(self, number: int) -> Path:
        """The report of a search worker."""
        return self.search / "workers" / f"worker{number}.json"

    def workers(self) -> list[Path]:
        """The reports of all workers of a search."""
        return sorted(self.search.glob("workers/worker*.json"))

    @property
    def demo(self) -> Path:
        """The demo's tables, images and answers."""
        return self.folder / "demo"

    @property
    def demo_answers(self) -> Path:
        """The right answers of the demo's test rows."""
        return self.demo / "test_answers.csv"

    def training_work(self, fold: int) -> Path:
        """Plan and checkpoints of a fold's unfinished training."""
        return self.folder / "work" / "train" / f"fold{fold}"

    def scoring_work(self, split: str, fold: int, view: str) -> Path:
        """The shards of an unfinished scoring."""
        return self.folder / "work" / "scores" / split / f"fold{fold}" / view

    @property
    def search_work(self) -> Path:
        """The study of a search and its trials' checkpoints."""
        return self.folder / "work" / "hpo"

    @property
    def vision(self) -> Path:
        """Image features that jobs share."""
        return self.folder / "work" / "vision"

    @property
    def store(self) -> Path:
        """Finished adapters and scores, unless hardware.store names another folder."""
        return self.folder / "store"


RESULTS = ResultsFolder(Path("results"))  # in the working directory, as Snakemake's rules name it
