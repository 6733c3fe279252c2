"""The demo drawn again with other seeds: rows and folds.

Each seed has a folder of its own with tables and folds; all share one folder of images.
"""

import shutil
from collections.abc import Mapping
from typing import Any

from vqaflow.artifacts.results_folder import ResultsFolder
from vqaflow.data.folds.make_folds import make_folds
from vqaflow.data.validate_tables import RawFiles, TableFiles, TableSettings, validate_tables
from vqaflow.demo.prepare_demo import prepare_demo
from vqaflow.demo.redraws import folder_of


def draw_demo(config: Mapping[str, Any], at: ResultsFolder, seed: int) -> ResultsFolder:
    """The folder of the demo of `seed`, with its tables and folds; made if it is not there."""
    own = folder_of(at, seed)
    images = own.folder.parent / "images"
    if own.folds.is_file():
        return own
    prepare_demo(demo=config["data"]["demo"] | {"seed": seed}, out=own.demo)
    for split in ("train", "test"):
        shutil.copytree(own.demo / split, images / split, dirs_exist_ok=True)
        shutil.rmtree(own.demo / split)
    given = config["data"] | {
        "train_csv": own.demo / "train.csv",
        "test_csv": own.demo / "test.csv",
        "sample_submission": own.demo / "sample_submission.csv",
        "image_root": images,
        "normal_form": config["prompt"]["normal_form"],
    }
    tables = TableFiles(own.table("train"), own.table("test"), own.problems, own.labels)
    validate_tables(RawFiles.read(given), TableSettings.read(given, ()), tables)
    folds = config["folds"] | {"seed": seed}
    make_folds(
        train=own.table("train"), test=own.table("test"), **folds, folds_out=own.folds, report_out=own.fold_report
    )
    return own
