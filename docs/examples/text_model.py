"""A model from outside as a member of the pool: it answers from the question and the choices, without the picture.

    python docs/examples/text_model.py            # after: snakemake --cores 1 results/folds.parquet
    snakemake --cores 1 --configfile docs/examples/members.yaml

It stands for whatever you or a friend have: all that vqaflow asks of it is two files with ids and probabilities, and
that each training row was answered by a model that had not seen it. Therefore it uses the folds of the workflow.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline

LETTERS = ["a", "b", "c", "d"]
RESULTS = Path("results")
OUT = Path("text_model")


def texts(table: pd.DataFrame) -> list[str]:
    """One text for each choice of each row: the question, and the choice as a word of its own."""
    return [f"{row.question} ={getattr(row, letter)}" for row in table.itertuples() for letter in LETTERS]


def fitted(table: pd.DataFrame) -> Pipeline:
    """A model of whether a choice is the right one."""
    right = np.concatenate([[letter == answer for letter in LETTERS] for answer in table["answer"]])
    model = make_pipeline(TfidfVectorizer(analyzer="char_wb", ngram_range=(1, 4)), LogisticRegression(C=10))
    return model.fit(texts(table), right)


def probabilities(model: Pipeline, table: pd.DataFrame) -> np.ndarray:
    """The probability of each choice (rows, 4)."""
    odds = np.exp(model.decision_function(texts(table)).reshape(-1, len(LETTERS)))
    return odds / odds.sum(1, keepdims=True)


def write(ids: pd.Series, answers: np.ndarray, name: str) -> None:
    """Write a file as vqaflow reads it: an id, and one column per choice."""
    OUT.mkdir(exist_ok=True)
    frame = pd.DataFrame(answers, columns=[f"p_{letter}" for letter in LETTERS])
    frame.insert(0, "id", ids.to_numpy())
    frame.to_csv(OUT / f"{name}.csv", index=False)


def main() -> None:
    """Answer each fold's rows by a model of the other folds, and the test rows by all models together."""
    train, test = (pd.read_parquet(RESULTS / "tables" / f"{name}.parquet") for name in ("train", "test"))
    fold = train[["id"]].merge(pd.read_parquet(RESULTS / "folds.parquet"), on="id")["fold"].to_numpy()
    oof, of_test = np.empty((len(train), len(LETTERS))), []
    for held_out in np.unique(fold):
        model = fitted(train[fold != held_out])
        oof[fold == held_out] = probabilities(model, train[fold == held_out])
        of_test.append(probabilities(model, test))
    write(train["id"], oof, "oof")
    write(test["id"], np.mean(of_test, axis=0), "test")
    right = (np.array(LETTERS)[oof.argmax(1)] == train["answer"]).mean()
    print(f"{OUT}/oof.csv and {OUT}/test.csv: out-of-fold accuracy {right:.3f}")


if __name__ == "__main__":
    main()
