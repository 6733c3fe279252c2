"""Reads the pictures of a row: their features from the disk, else their patches."""

from collections.abc import Sequence

from vqaflow.config.sections import ViewConfig
from vqaflow.model.base import Base
from vqaflow.model.encoding.row_encoder import RowEncoder
from vqaflow.model.features.folder import FeatureFolder
from vqaflow.model.features.host_memory import to_send
from vqaflow.model.features.readers import readers_of
from vqaflow.model.features.wanted import Source, Wanted


class PictureReader:
    """Reads for one view, by the readers of the job; `threads` of it may call `read` at once.

    It pays to have `ahead` images asked for before they are needed.
    """

    def __init__(self, base: Base, encoder: RowEncoder, view: ViewConfig, folder: FeatureFolder | None) -> None:
        self.device, self.view, self.folder = base.device, view, folder
        self.readers = readers_of(encoder.images, base.device)
        self.threads, self.ahead = self.readers.threads, self.readers.ahead

    def read(self, wanted: Sequence[Wanted]) -> list[Source]:
        """What is found for pictures of one row that are mirrored alike; the image is opened once, if at all."""
        kept = [self.folder.read(one.key) if self.folder else None for one in wanted]
        missing = [one.picture for one, features in zip(wanted, kept, strict=True) if features is None]
        patches = iter(self.readers.call("patches", wanted[0].row, self.view, missing) if missing else [])
        return [
            Source(one, None, to_send(next(patches), self.device))
            if features is None
            else Source(one, to_send(features, self.device), None)
            for one, features in zip(wanted, kept, strict=True)
        ]
