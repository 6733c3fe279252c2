"""Features of pictures on disk, one file per picture, for other jobs and runs.

Shapes: H hidden size; levels of DeepStack, 0 in most families.
"""

import hashlib
import math
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from vqaflow.config.sections import ViewConfig
from vqaflow.model.base import Base
from vqaflow.model.encoding import row_encoder
from vqaflow.model.encoding.row_encoder import RowEncoder
from vqaflow.model.families import known
from vqaflow.model.vision import finite_features
from vqaflow.runtime.artifact_store import HEX, size_of
from vqaflow.runtime.code_digest import code_digest
from vqaflow.runtime.digests import value_digest
from vqaflow.runtime.files import atomic_path, sweep
from vqaflow.runtime.stage import log
from vqaflow.runtime.versions import decisive_versions

FILES_BETWEEN_SIZES = 256
FEATURES, DIGEST = "features", "sha256"  # of a file: its tensor, and the entry of its metadata that checks it
# Their code turns an image file into pixels and pixels into features.
MAKERS = (row_encoder.__file__, finite_features.__file__, known.__file__)


class FeatureFolder:
    """Features on disk, one file per picture, in a folder under `folder` for everything else that they depend on.

    Nothing is written once `folder` as a whole holds `gb` gigabytes (several jobs at once may exceed that a little).
    Features made by other code or packages are useless and are removed a day after they were written.
    """

    def __init__(self, folder: Path, base: Base, encoder: RowEncoder, view: ViewConfig, gb: float = math.inf) -> None:
        processor = encoder.image_processor.to_json_string()
        settings = [encoder.pixel_limits(view), view.flip, processor, str(base.dtype), tower_digest(base.visual)]
        makers = makers_digest()[:8]
        self.root, self.folder, self.gb = folder, folder / f"{makers}-{value_digest(settings)[:16]}", gb
        self.written, self.full = 0, False
        sweep(self.folder, ".*.safetensors")
        for kept in folder.glob(f"{HEX * 8}-{HEX * 16}"):
            if not kept.name.startswith(makers):
                sweep(folder, kept.name)

    def read(self, key: str) -> torch.Tensor | None:
        """A picture's features (visual tokens, (1 + levels) x H), mapped from their file, if it is whole."""
        file = self.folder / f"{key}.safetensors"
        if not file.is_file():
            return None
        try:
            with safe_open(file, framework="pt") as opened:
                features, digest = opened.get_tensor(FEATURES), (opened.metadata() or {}).get(DIGEST)
        except (SafetensorError, OSError):
            return None  # a damaged file is computed again
        return features if digest == tensor_digest(features) else None

    def write(self, key: str, features: torch.Tensor) -> bool:
        """Keep the features of a picture, if there is room; returns whether they are kept."""
        if self.written % FILES_BETWEEN_SIZES == 0 and self.gb < math.inf:
            self.full = self.full or size_of(self.root) > self.gb * 1e9
        if self.full:
            return False
        self.written += 1
        try:
            with atomic_path(self.folder / f"{key}.safetensors", sweeping=False) as partial:
                kept = features.cpu().contiguous()
                save_file({FEATURES: kept}, partial, metadata={DIGEST: tensor_digest(kept)})
        except (OSError, SafetensorError) as error:  # safetensors has its own error for a full disk
            log.warning("%s: cannot be written, so no more features are kept (%s)", self.root, error)
            self.full = True
        return not self.full


def tensor_digest(tensor: torch.Tensor) -> str:
    """sha256 of the numbers of a tensor on the CPU, and of their type and shape: a flipped bit must not train."""
    digest = hashlib.sha256(f"{tensor.dtype} {tuple(tensor.shape)} ".encode())
    digest.update(memoryview(tensor.contiguous().view(-1).view(torch.uint8).numpy()))
    return digest.hexdigest()


def tower_digest(visual: Any) -> str:
    """Digest of the tower's shape and of a sample of its weights, cheap enough for every job."""
    sums = [
        [name, list(w.shape), float(w.flatten()[:: max(1, w.numel() // 64)].double().sum())]
        for name, w in visual.named_parameters()
    ]
    return value_digest(sums)


def makers_digest() -> str:
    """Digest of the code and the packages that turn an image file into pixels and pixels into features."""
    return value_digest([*map(code_digest, MAKERS), decisive_versions()])
