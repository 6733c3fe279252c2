"""What an export takes over of how a run trains: the pictures of the main view, and the answers of several people."""

from collections.abc import Iterable
from pathlib import Path

from PIL import Image

from vqaflow.artifacts.rows import Row
from vqaflow.config.members import FOREIGN, Member
from vqaflow.config.sections import AnswersConfig, PromptConfig, ViewConfig, section
from vqaflow.data.images.decoding import open_image
from vqaflow.data.images.pictures import Picture, pictures_of
from vqaflow.runtime.errors import UserError
from vqaflow.runtime.files import atomic_path
from vqaflow.runtime.stage import log
from vqaflow.training.targets import targets_of

PICTURES = "pictures"  # the folder of tiles in an export


def prompt_of(member: Member) -> PromptConfig:
    """What a member's models read. Raises UserError if it comes from files and reads nothing."""
    if member.kind == FOREIGN:
        raise UserError(f"--member {member.name}: it comes from files and has no prompt. Name a member with a model.")
    return section(PromptConfig, member.prompt)


def view_of(member: Member) -> ViewConfig:
    """The view that the member's training renders.

    Raises UserError if that view reads: what is read depends on the base, which an export does not load.
    """
    view = section(ViewConfig, member.rendering(member.main_view))
    if view.read:
        raise UserError(
            f"config train.view: {member.main_view} first reads the text in images, which other programs cannot do. "
            "Export with a train.view that does not read, or another --member."
        )
    return view


def trained_ids(rows: list[Row], answers: AnswersConfig) -> set[str]:
    """The ids of the rows that train. Says once what of `answers` a conversation cannot express."""
    targets = targets_of(rows, answers)
    lost = ["shares of answers (each row has the answer of most people)"] if answers.answers_use == "soft" else []
    lost += ["weights by agreement (data.agreement_weight)"] if answers.agreement_weight else []
    if targets.several and lost:
        log.warning("an export cannot express %s; each line has `shares` and `people` for it", " and ".join(lost))
    return {row.id for row in targets.rows}


def images_of(row: Row, view: ViewConfig, out: Path) -> tuple[str, ...]:
    """The absolute paths of the row's pictures in `view`: the image itself, then its tiles in the export `out`."""
    tiles = pictures_of(row.width, row.height, view)[1:]
    return (str(Path(row.image_file).absolute()), *(str(tile_file(out.absolute(), row, tile)) for tile in tiles))


def tile_file(out: Path, row: Row, tile: Picture) -> Path:
    """Where the export `out` has a tile."""
    return out / PICTURES / f"{tile.key(row.sha256)}.png"


def write_tiles(rows: Iterable[Row], view: ViewConfig, folder: Path) -> None:
    """Write the tiles that `view` shows, enlarged as training shows them, into the export's `folder`."""
    for row in {row.sha256: row for row in rows}.values():
        tiles = pictures_of(row.width, row.height, view)[1:]
        image = open_image(row.image_file, row.sha256) if tiles else Image.new("RGB", (1, 1))
        for tile in tiles:
            with atomic_path(tile_file(folder, row, tile), sweeping=False) as partial:
                tile.cut(image, tile.width, tile.height).save(partial)
