"""Features of images from the frozen tower, each image's computed once for all epochs, orders and, on disk, jobs.

A feature's key is the image's content, its resolution and mirroring, the image processor, the tower's weights and
precision, and the code and packages that make pixels and features.
"""

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from vqaflow.base_model import Base
from vqaflow.code_digest import module_digest
from vqaflow.config import ViewConfig
from vqaflow.encoding import EncodedRow, RowEncoder
from vqaflow.files import atomic_path, sweep, value_digest
from vqaflow.fp16_guard import finite_features
from vqaflow.parity import decisive_versions
from vqaflow.progress import ProgressBar, log
from vqaflow.store import HEX, size_of

PATCHES_A_CALL = 16384
READERS = 2
FILES_BETWEEN_SIZES = 256


class FeatureFolder:
    """Features on disk, a file an image, under `folder` and there under all else that they depend on.

    Nothing is written once all of `folder` holds `gb` gigabytes (which several jobs at a time may overshoot a little).
    What other code or packages made is of no more use, and removed a day after it was written.
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

    def read(self, sha256: str) -> torch.Tensor | None:
        """The features (visual tokens, H) of an image, mapped from their file, if they are there and whole."""
        file = self.folder / f"{sha256}.safetensors"
        try:
            return load_file(file)["features"] if file.is_file() else None
        except (SafetensorError, KeyError, OSError):
            return None  # a damaged file is made anew

    def write(self, sha256: str, features: torch.Tensor) -> bool:
        """Keep the features of an image, if there is room; says whether they are kept."""
        if self.written % FILES_BETWEEN_SIZES == 0 and self.gb < math.inf:
            self.full = self.full or size_of(self.root) > self.gb * 1e9
        if self.full:
            return False
        self.written += 1
        try:
            with atomic_path(self.folder / f"{sha256}.safetensors", sweeping=False) as partial:
                save_file({"features": features.cpu().contiguous()}, partial)
        except (OSError, SafetensorError) as error:  # safetensors tells a full disk in its own words
            log.warning("%s: no more features are kept (%s)", self.root, error)
            self.full = True
        return not self.full


class FeatureCache:
    """Features by image: kept nowhere (`off`), in the host's memory (`memory`), or in `folder` (`disk`).

    From the disk each use reads them anew, so that they take no memory; only what finds no room there stays in memory.
    """

    def __init__(self, base: Base, encoder: RowEncoder, view: ViewConfig, mode: str, folder: Path) -> None:
        self.base, self.encoder, self.view, self.mode = base, encoder, view, mode
        self.kept: dict[str, torch.Tensor] = {}
        self.disk = FeatureFolder(folder, base, encoder, view) if mode == "disk" else None

    def of(self, items: Sequence[tuple[Mapping[str, Any], EncodedRow]]) -> list[torch.Tensor]:
        """Features (visual tokens, H) on the device for each row and its encoding."""
        found = self._found(items)
        return [found[row["sha256"]].to(self.base.device, non_blocking=True) for row, _ in items]

    def fill(self, items: Sequence[tuple[Mapping[str, Any], EncodedRow]]) -> None:
        """Compute all features beforehand, so that the tower is not needed again."""
        unique = list({row["sha256"]: (row, encoded) for row, encoded in items}.values())
        with ProgressBar(len(unique), "vision features", "image") as bar:
            for start in range(0, len(unique), 32):
                self._found(unique[start : start + 32])
                bar.advance(len(unique[start : start + 32]))

    def _found(self, items: Sequence[tuple[Mapping[str, Any], EncodedRow]]) -> dict[str, torch.Tensor]:
        """Features by image, wherever they are; what is nowhere is computed, and kept as the mode says."""
        images = {row["sha256"]: (row, encoded) for row, encoded in items}
        found = {image: self.kept[image] for image in images if image in self.kept}
        if self.disk:
            read = {image: self.disk.read(image) for image in images if image not in found}
            found |= {image: features for image, features in read.items() if features is not None}
        return found | self._compute([item for image, item in images.items() if image not in found])

    def _compute(self, items: list[tuple[Mapping[str, Any], EncodedRow]]) -> dict[str, torch.Tensor]:
        made: dict[str, torch.Tensor] = {}
        with ThreadPoolExecutor(READERS) as pool:
            pixels = list(pool.map(lambda item: self.encoder.pixels(item[0]["image_file"], self.view), items))
        for group in groups_of([len(p) for p in pixels], PATCHES_A_CALL):
            rows = [items[i][0] for i in group]
            grids = [items[i][1].grid for i in group]
            features = finite_features(self.base.visual, [pixels[i] for i in group], grids, rows)
            made |= zip([row["sha256"] for row in rows], features, strict=True)
            for row in rows:
                self._keep(row["sha256"], made[row["sha256"]])
        return made

    def _keep(self, image: str, features: torch.Tensor) -> None:
        if self.mode == "memory" or (self.disk and not self.disk.write(image, features)):
            self.kept[image] = features.cpu()


def groups_of(sizes: list[int], limit: int) -> list[list[int]]:
    """Indices in order, cut into groups whose sizes add up to at most `limit` (or single ones)."""
    groups: list[list[int]] = []
    total = limit
    for i, size in enumerate(sizes):
        if total + size > limit:
            groups.append([])
            total = 0
        groups[-1].append(i)
        total += size
    return groups


def tower_digest(visual: Any) -> str:
    """Digest of the tower's shape and of a sample of its weights, cheap enough for every job."""
    sums = [
        [name, list(w.shape), float(w.flatten()[:: max(1, w.numel() // 64)].double().sum())]
        for name, w in visual.named_parameters()
    ]
    return value_digest(sums)


def makers_digest() -> str:
    """Digest of the code and the packages that make pixels of an image file and features of pixels."""
    return value_digest([module_digest("encoding"), module_digest("fp16_guard"), decisive_versions()])
