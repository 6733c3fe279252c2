"""A small world on disk for tests of an adapter elsewhere: a base, an adapter as training saves it, a table."""

import json
from pathlib import Path

import torch

import rows
import scoring_world
from vqaflow.artifacts.adapter_files import write_run
from vqaflow.config.sections import LoraConfig, ModelConfig, PromptConfig, ViewConfig
from vqaflow.model.base import load_base
from vqaflow.model.lora import add_adapter
from vqaflow.model.parity import parity
from vqaflow.model.pipeline.parts import make_encoder
from vqaflow.runtime.versions import package_versions
from vqaflow.scoring.merge_adapter import merge_adapter
from vqaflow.scoring.selection import Task
from vqaflow.training.adapter_folder import save_adapter

SHIPPED = ["tiny-qwen2_5-vl", "tiny-qwen3-vl"]  # folders of assets/
LORA = LoraConfig(4, 8, 0.0, ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"))


class AdapterWorld:
    """A base, an adapter that was saved as training saves it, a table of `rows` rows, and `merge`."""

    def __init__(self, folder: Path, base: Path, size: float = 0.05, **model: object) -> None:
        self.folder, self.adapter, self.table = folder, folder / "adapter", folder / "test.parquet"
        given = {"base": str(base), "min_pixels": 32 * 32, "max_pixels": 64 * 64} | model
        self.model: ModelConfig = rows.model_config(**given)
        self.prompt: PromptConfig = rows.prompt_config()
        scoring_world.make_table(folder / "images", 6).to_parquet(self.table)
        tuned = load_base(self.model)
        told = parity(tuned, make_encoder(tuned, self.model, self.prompt, 4), self.model, self.prompt)
        add_adapter(tuned, LORA, 0)
        torch.manual_seed(1)
        with torch.no_grad():
            for name, weight in tuned.model.named_parameters():
                if ".lora_B." in name:
                    weight.copy_(torch.randn_like(weight) * size)
        save_adapter(tuned, self.model, self.adapter)
        write_run(self.adapter, {"parity": told, "versions": package_versions(), "quantization": "none"})

    def merge(self, dtype: str = "float32") -> tuple[Path, dict]:
        """The merged checkpoint, and what was told of it."""
        out, report = self.folder / "merged" / "fold0", self.folder / "merged" / "fold0.json"
        task = Task("original", self.model, self.prompt, ViewConfig(), "cyclic", True)
        merge_adapter(task=task, table=self.table, part="0", adapter=self.adapter, out=out, report=report, dtype=dtype)
        return out, json.loads(report.read_text(encoding="utf-8"))
