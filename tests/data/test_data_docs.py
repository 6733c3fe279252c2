"""docs/data.md: a snippet that the workflow refuses costs every reader an hour."""

import re

import pytest
import yaml

from places import ROOT
from vqaflow.artifacts.labels import FAMILIES
from vqaflow.config.check import check_config
from vqaflow.config.loading import load_config
from vqaflow.data.training_tables import further_tables
from vqaflow.data.validate_tables import RawFiles, TableSettings

PAGE = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
SNIPPETS = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("snippet", SNIPPETS)
def test_each_snippet_is_a_file_of_settings(snippet, tmp_path):
    (tmp_path / "my.yaml").write_text(snippet, encoding="utf-8")
    config = load_config(ROOT / "config.yaml", tmp_path / "my.yaml")
    config["model"]["base"] = "Qwen/Qwen3-VL-8B-Instruct"  # a profile names one
    check_config(config, ROOT / "schemas" / "config.schema.yaml")
    data = config["data"] | {"normal_form": "NFKC"}
    raw, settings = RawFiles.read(data), TableSettings.read(data, ())
    assert raw.more == further_tables(data) and settings.columns.choices == tuple(data["columns"]["choices"])
    assert yaml.safe_load(snippet)["data"].keys() <= config["data"].keys()


def test_there_are_snippets_and_every_name_of_labels_is_explained():
    assert len(SNIPPETS) == 6
    assert all(f"`{family}`" in PAGE for family in FAMILIES)
