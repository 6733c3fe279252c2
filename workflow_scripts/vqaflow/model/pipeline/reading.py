"""Views that read: the untuned base first transcribes what text in the image bears on the question.

Each row is transcribed once, alone and greedily, so that what is read depends on nothing but the row, the base and the
view: not on other rows, not on an adapter. Transcripts are kept in a folder for other folds, jobs and runs.

Shapes: H hidden size.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from vqaflow.artifacts.rows import Row
from vqaflow.config.sections import ViewConfig
from vqaflow.model.base import Base
from vqaflow.model.base_digest import base_digest
from vqaflow.model.decoder.branches import decoder_arguments, pack
from vqaflow.model.encoding.row_encoder import EncodedRow
from vqaflow.model.features.folder import FeatureFolder
from vqaflow.model.features.stream import Prepared
from vqaflow.model.pipeline.parts import Encoder, make_stream
from vqaflow.model.separate.inputs import RowInputs
from vqaflow.runtime.code_digest import code_digest
from vqaflow.runtime.digests import text_digest, value_digest
from vqaflow.runtime.files import write_text
from vqaflow.runtime.progress import ProgressBar
from vqaflow.runtime.versions import decisive_versions

FOLDER = "transcripts"  # beside the image features


def with_transcripts(
    rows: Sequence[Row], base: Base, encoder: Encoder, view: ViewConfig, work: Path, kept: FeatureFolder | None = None
) -> list[Row]:
    """`rows` with what the base reads in their images, if `view` reads; as they are if not.

    `base` must not have an adapter. Transcripts are kept in a folder under `work`, features of pictures in `kept`.
    """
    if not view.read:
        return list(rows)
    keys, folder = transcript_keys(rows, base, encoder, view), work / FOLDER
    files = {row.id: folder / f"{key}.txt" for row, key in zip(rows, keys, strict=True)}
    found = {row.id: read_transcript(files[row.id]) if row.sha256 else "" for row in rows}
    todo = [row for row in rows if found[row.id] is None]
    with ProgressBar(len(todo), "read text in images") as bar:
        for row, text in transcribe(todo, base, encoder, view, kept):
            write_text(files[row.id], f"{text_digest(text)}\n{text}")
            found[row.id] = text
            bar.advance()
    texts = [found[row.id] for row in rows]
    return [replace(row, transcript=text) for row, text in zip(rows, texts, strict=True)]


def read_transcript(file: Path) -> str | None:
    """A kept transcript; None if there is none, or if it is not as it was written (below its digest)."""
    if not file.is_file():
        return None
    digest, _, text = file.read_bytes().decode("utf-8", "replace").partition("\n")
    return text if digest == text_digest(text) else None


def transcript_keys(rows: Sequence[Row], base: Base, encoder: Encoder, view: ViewConfig) -> list[str]:
    """What each row's transcript depends on, as a digest; the choices and the answer do not belong to it."""
    prompt = encoder.renderer.prompt
    shared = [
        base_digest(encoder.model),
        [base.device.type, str(base.dtype), base.quantization, view.limits(encoder.model.limits)],
        [prompt.normal_form, prompt.system, prompt.read, view.rendering()],
        [code_digest(__file__), decisive_versions()],
    ]
    common = value_digest(shared)
    return [value_digest([common, row.sha256, row.width, row.height, row.question]) for row in rows]


@torch.no_grad()
def transcribe(
    rows: Sequence[Row], base: Base, encoder: Encoder, view: ViewConfig, kept: FeatureFolder | None = None
) -> Iterator[tuple[Row, str]]:
    """Each row and its transcript, of at most `view.read_tokens` tokens."""
    training = base.model.training
    base.model.eval()
    tokenizer = encoder.tokenizer
    items = [[Prepared(row, encoder.encode_reading(row, view))] for row in rows]
    for (item,), (made,) in make_stream(base, encoder, view, kept).stream(items):
        if isinstance(made, RowInputs):
            tokens = written_by_library(base, made.passes[0], view.read_tokens, ends_of(base, tokenizer))
        else:
            tokens = written(base, item.encoded, made, view.read_tokens, ends_of(base, tokenizer))
        yield item.row, tokenizer.decode(tokens, skip_special_tokens=True).strip()
    base.model.train(training)


def ends_of(base: Base, tokenizer: Any) -> list[int]:
    """The tokens that end what the model writes."""
    configured = base.network.generation_config.eos_token_id
    ends = configured if isinstance(configured, list) else [configured]
    return sorted({token for token in (*ends, tokenizer.eos_token_id) if token is not None})


def written(base: Base, encoded: EncodedRow, features: torch.Tensor, most: int, ends: Sequence[int]) -> list[int]:
    """The most likely tokens after a prompt, one after the other, without the one that ends them.

    The library's layers run on our positions and on the image features that scoring uses.
    """
    model, device, tokens = base.language_model, base.device, []
    batch = pack([encoded], base.network.config.image_token_id, pad_token=0, multiple=1).to(device)
    with torch.autocast(device.type, dtype=base.dtype, enabled=base.dtype is not torch.float32):
        arguments, cache = decoder_arguments(model, batch, [features]), None
        for position in range(encoded.next_position, encoded.next_position + most):
            out = model(**arguments, cache=cache, use_cache=True)
            cache, last_1H = out.past_key_values, out.last_hidden_state[:, -1]
            token = base.head(last_1H.to(base.head.weight.device)).argmax(-1)
            if int(token) in ends:
                break
            tokens.append(int(token))
            embedded = model.embed_tokens(token[:, None].to(model.embed_tokens.weight.device)).to(device)
            where = torch.full((3, 1, 1), position, device=device)
            arguments = {"inputs_embeds": embedded, "attention_mask": None, "position_ids": where}
    return tokens


def written_by_library(base: Base, made: dict[str, Any], most: int, ends: Sequence[int]) -> list[int]:
    """The same by the library's own greedy generation, for families whose passes are separate."""
    arguments = {
        name: value.to(base.device, base.dtype if value.is_floating_point() else None)
        if isinstance(value, torch.Tensor)
        else value
        for name, value in made.items()
    }
    with torch.autocast(base.device.type, dtype=base.dtype, enabled=base.dtype is not torch.float32):
        out = base.network.generate(
            **arguments,
            max_new_tokens=most,
            do_sample=False,
            num_beams=1,
            eos_token_id=list(ends) or None,
            pad_token_id=ends[0] if ends else None,
        )
    tokens = out[0, made["input_ids"].shape[1] :].tolist()
    return tokens[: next((i for i, token in enumerate(tokens) if token in ends), len(tokens))]
