"""The label mass of members (scoring/label_mass.py): of the untuned base, and of the adapters that are there.

Shapes: H hidden size.
"""

from collections.abc import Iterator, Mapping, Sequence

import torch

from vqaflow.artifacts.parts import fold_of
from vqaflow.artifacts.reading import read_table
from vqaflow.artifacts.results_folder import ResultsFolder
from vqaflow.artifacts.rows import Row, rows_of
from vqaflow.config.members import Member
from vqaflow.config.sections import ModelConfig, PromptConfig, ViewConfig, section
from vqaflow.model.base import Base
from vqaflow.model.decoder.merged_adapters import read_adapter
from vqaflow.model.features.stream import Prepared
from vqaflow.model.pipeline.parts import Decoder, Encoder, make_decoder, make_encoder, make_stream, use
from vqaflow.model.pipeline.reading import with_transcripts
from vqaflow.model.stored_base import open_base
from vqaflow.reporting.terminal_table import table_lines
from vqaflow.scoring.label_mass import LEAST, LabelMass, mass_of_rows, sample_of

BASE_ROW = "untuned base"


def masses_of(member: Member, at: ResultsFolder, count: int) -> dict[str, LabelMass]:
    """The masses of a member's base and of its adapters, on `count` rows of the training table each.

    An adapter of a fold is measured on that fold's rows. Raises UserError if tables or folds are missing.
    """
    model, view = section(ModelConfig, member.model), section(ViewConfig, member.rendering(member.main_view))
    rows = rows_of(read_table(at.table("train"), "validate_tables"))
    fold = read_table(at.folds, "make_folds", ["id", "fold"]).set_index("id")["fold"].to_dict()
    base = open_base(model, at.bases)
    encoder = make_encoder(base, model, section(PromptConfig, member.prompt), len(rows[0].choices))
    decoder = make_decoder(base, compile_kernels=False)

    def measured(mine: Sequence[Row]) -> LabelMass:
        shown = with_transcripts(sample_of(mine, count), base, encoder, view, at.vision)
        return mass_of_rows(shown, lambda row: states_of(row, base, encoder, decoder, view), base, encoder)

    found = {BASE_ROW: measured(rows)}
    for folder in at.adapters(member.name):
        held_out = fold_of(folder.name.removeprefix("fold"))
        use(decoder, read_adapter(folder))
        found[folder.name] = measured([row for row in rows if held_out is None or fold[row.id] == held_out])
    return found


@torch.no_grad()
def states_of(row: Row, base: Base, encoder: Encoder, decoder: Decoder, view: ViewConfig) -> torch.Tensor:
    """The state (1, 1, H) at the answer of a row, its choices in the table's order."""
    item = Prepared(row, encoder.encode(row, [row.letters], view))
    ((_, features),) = make_stream(base, encoder, view, None).stream([[item]])
    return decoder.states([item.encoded], features)


def mass_lines(found: Mapping[str, Mapping[str, LabelMass]]) -> Iterator[str]:
    """The figures as a table, and what a low one means."""
    rows = [
        [name, whose, str(mass.rows), f"{mass.mean:.4f}", f"{mass.least:.4f}", mass.least_row, mass.instead or ""]
        for name, by_adapter in found.items()
        for whose, mass in by_adapter.items()
    ]
    yield from table_lines(["member", "model", "rows", "label mass", "least", "in row", "rather says"], rows)
    if low := sorted({name for name, by in found.items() if by[BASE_ROW].mean < LEAST}):
        yield (
            f"{', '.join(low)}: the base puts less than {LEAST} of the probability on the letters. Check "
            "prompt.templates, prompt.letters and the base's chat template."
        )
