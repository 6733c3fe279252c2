"""One pass of the library's own forward per row and choice order, with PEFT's own layers for an adapter.

`require_same_forward` checks on a made-up row that this gives what the network itself gives. So a class that works in
another way is refused instead of being trained or scored wrongly.

Shapes: B rows, K choice orders, P passes computed together, L tokens of the longest, H hidden size, C letters.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from vqaflow.artifacts.columns import ALL_LETTERS
from vqaflow.artifacts.rows import text_row
from vqaflow.config.sections import ViewConfig
from vqaflow.model.base import Base
from vqaflow.model.decoder.branches import letter_logits
from vqaflow.model.decoder.merged_adapters import PREFIX, Adapter, read_adapter
from vqaflow.model.numerics.precision import name_of
from vqaflow.model.separate.encoder import PassEncoder, PassRow
from vqaflow.model.separate.inputs import RowInputs, inputs_of, is_sequence
from vqaflow.runtime.errors import UserError
from vqaflow.runtime.messages import reason_of
from vqaflow.runtime.stage import memory_problem

ROWS_PER_PASS = 8  # about 8,000 tokens: more would not keep a GPU busier
PROBE_CHOICES = ("red", "a blue one", "3", "none")
# Largest relative differences. Logits differ only by the head's rounding; batches also by their kernels' rounding.
LOGITS_TOLERANCE, BATCH_TOLERANCE = (1e-3, 0.015), (1e-3, 0.05)  # float32, 16 bits


def body_of(network: Any) -> Any:
    """The part of `network` that gives the hidden states, without its head. Raises UserError if there is none."""
    body = getattr(network, "model", network.base_model)
    if body is network:
        raise UserError(
            f"config model.base: {type(network).__name__} has no part without its head. Use a model of another class."
        )
    return body


class PassDecoder:
    """Hidden states of rows from separate passes, at most `rows_per_pass` of them computed together."""

    def __init__(self, base: Base, rows_per_pass: int = ROWS_PER_PASS) -> None:
        self.base, self.rows_per_pass = base, rows_per_pass
        self.body = body_of(base.network)

    def states(self, encoded_rows: Sequence[PassRow], inputs: Sequence[RowInputs]) -> torch.Tensor:
        """Hidden states (B, K, H) that predict the answers, after the final norm; each row has K choice orders."""
        passes = [one for row in inputs for one in row.passes]
        most = self.rows_per_pass if all(row.together for row in inputs) else 1
        found: list[Any] = [None] * len(passes)
        for group in groups(passes, most):
            for i, state_H in zip(group, self._group_states([passes[i] for i in group]), strict=True):
                found[i] = state_H
        return torch.stack(found).unflatten(0, (len(encoded_rows), -1))

    def _group_states(self, passes: Sequence[dict[str, Any]]) -> torch.Tensor:
        """Hidden states (P, H) at each pass's last token."""
        batch, dtype, device = joined(passes), self.base.dtype, self.base.device
        ends_P = torch.tensor([last_token(made) for made in passes], device=device)
        arguments = {name: _moved(value, device, dtype) for name, value in batch.items()}
        with torch.autocast(device.type, dtype=dtype, enabled=dtype is not torch.float32):
            hidden_PLH = self.body(**arguments, use_cache=False).last_hidden_state
        return hidden_PLH[torch.arange(len(passes), device=device), ends_P]

    def use(self, folder: Path | str | None) -> None:
        """Attach the adapter in `folder` with PEFT's layers, in place of an earlier one; None: only take that off.

        Raises UserError if the adapter cannot be read, or any of its tensors has no place in this base.
        """
        from peft import PeftModel  # takes seconds to import, and most families do not need it

        if isinstance(self.base.model, PeftModel):
            self.base.model = self.base.model.unload()
        if folder is None:
            return
        adapter = read_adapter(folder)
        require_places(self.base.network, adapter)
        self.base.model = PeftModel.from_pretrained(self.base.network, str(folder), is_trainable=False)
        self.base.model.eval()
        require_used(self.base.model, adapter)


def require_places(network: Any, adapter: Adapter) -> None:
    """Raise UserError unless each linear that `adapter` changes exists in `network`, in the adapter's shape."""
    modules = dict(network.named_modules())
    for name, (a, b) in adapter.pairs.items():
        module = modules.get(name)
        theirs = (getattr(module, "out_features", None), getattr(module, "in_features", None))
        if theirs != (b.shape[0], a.shape[1]):
            found = "does not have it" if module is None else f"has {theirs[0]} x {theirs[1]} there"
            raise UserError(
                f"{adapter.folder}: the adapter was trained on another base: it changes {name} ({b.shape[0]} x "
                f"{a.shape[1]}), but model.base {found}. Set model.base to the adapter's base, or train the adapter "
                "again."
            )


def require_used(model: Any, adapter: Adapter) -> None:
    """Raise UserError unless PEFT's layers hold exactly the tensors of `adapter`."""
    wanted = {}
    for name, (a, b) in adapter.pairs.items():
        wanted |= {f"{PREFIX}{name}.lora_A.weight": a, f"{PREFIX}{name}.lora_B.weight": b}
    from peft import get_peft_model_state_dict

    loaded = get_peft_model_state_dict(model)
    odd = sorted(wanted.keys() ^ loaded.keys())
    odd += [name for name in wanted.keys() & loaded.keys() if not _same(loaded[name], wanted[name])]
    if odd:
        raise UserError(
            f"{adapter.folder}: PEFT did not load the adapter completely ({len(odd)} tensors differ, such as "
            f"{odd[0]}). Train the adapter again with the installed versions."
        )


def _same(loaded: torch.Tensor, wanted: torch.Tensor) -> bool:
    return loaded.shape == wanted.shape and torch.equal(loaded.cpu().to(wanted.dtype), wanted)


def last_token(made: dict[str, Any]) -> int:
    """The place of a pass's last token that is not padding."""
    mask = made.get("attention_mask")
    return int(mask[0].nonzero().max()) if is_sequence(mask, made) else made["input_ids"].shape[1] - 1


def groups(passes: Sequence[dict[str, Any]], most: int) -> Iterator[list[int]]:
    """The numbers of the passes that can be computed together, at most `most`: their pictures' tensors fit together."""
    alike: dict[Any, list[int]] = {}
    for i, made in enumerate(passes):
        alike.setdefault(_shape_of(made), []).append(i)
    for numbers in alike.values():
        for start in range(0, len(numbers), most):
            yield numbers[start : start + most]


def _shape_of(made: dict[str, Any]) -> Any:
    """What must be equal for passes to be joined; no two passes with other arguments than tensors are."""
    if not all(isinstance(value, torch.Tensor) for value in made.values()):
        return id(made)
    return tuple(
        (name, None if is_sequence(value, made) else (value.dtype, *value.shape[1:]))
        for name, value in sorted(made.items())
    )


def joined(passes: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The passes' arguments as one batch; sequences are padded on the right, which no causal layer sees.

    So a pass does not depend on the lengths of others, whatever way the network counts positions.
    """
    if len(passes) == 1:
        return passes[0]
    longest = max(made["input_ids"].shape[1] for made in passes)
    batch = {}
    for name, value in passes[0].items():
        parts = [made[name] for made in passes]
        if is_sequence(value, passes[0]):
            parts = [torch.nn.functional.pad(part, (0, longest - part.shape[1])) for part in parts]
        batch[name] = torch.cat(parts)
    return batch


def _moved(value: Any, device: torch.device, dtype: torch.dtype) -> Any:
    """A tensor on `device`; numbers with a fraction, such as pixels, in the compute dtype."""
    if not isinstance(value, torch.Tensor):
        return value
    return value.to(device, dtype if value.is_floating_point() else None, non_blocking=True)


@torch.no_grad()
def require_same_forward(base: Base, encoder: PassEncoder) -> None:
    """Check with made-up rows that `base` works in separate passes; sets `encoder.together`.

    Raises UserError, which names the class, if the letters' logits from `PassDecoder` are not those of the network's
    own forward, if a letter is not the token that follows the prompt, or if the picture has no influence.
    """
    name = type(base.network).__name__
    training = base.model.training
    base.model.eval()
    try:
        fault = _fault(base, encoder)
    except UserError:
        raise
    except Exception as error:  # a class that works in another way may fail anywhere
        if memory_problem(error):
            raise
        reason = reason_of(error)
        fault = f"its forward does not take what its processor makes ({reason})"
    finally:
        base.model.train(training)
    if fault:
        raise UserError(
            f"config model.base: {name} cannot be used: {fault}. Use a model of another class; docs/models.md lists "
            "the families that work."
        )


def _fault(base: Base, encoder: PassEncoder) -> str | None:
    """What is wrong with `base` in separate passes, if anything."""
    decoder, rows = PassDecoder(base, rows_per_pass=1), [_probe(encoder, i) for i in range(3)]
    encoded, inputs = [row for row, _ in rows], [made for _, made in rows]
    states_BKH = decoder.states(encoded, inputs)
    if not _letters_follow(encoder, encoded[0]):
        return "its processor does not put the answer's letter right after the prompt"
    logits_KC = letter_logits(states_BKH[0], base.letter_rows(encoder.letter_ids), base.softcap)
    own_KC = torch.stack([_own_logits(base, made)[encoder.letter_ids] for made in inputs[0].passes])
    if not (logits_KC.isfinite().all() and own_KC.isfinite().all()):
        return f"its logits are NaN or infinite in {name_of(base.dtype)}"
    if not _close(logits_KC, own_KC, LOGITS_TOLERANCE[base.dtype is not torch.float32]):
        return "the logits of its own forward are not those of its head on its last hidden state"
    if torch.equal(states_BKH[0], states_BKH[1]):
        return "the picture has no influence on its answers"
    decoder.rows_per_pass = len(inputs[0].passes) * len(rows)
    encoder.together = _batch_agrees(decoder, encoded, inputs, states_BKH)
    return None


def _probe(encoder: PassEncoder, number: int) -> tuple[PassRow, RowInputs]:
    """A made-up row: 0 and 1 differ only in their picture, 2 also in its size and in the question's length."""
    size = (96, 64) if number < 2 else (120, 200)
    pixels = np.random.default_rng(number).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    question = "What is it?" if number < 2 else "Which of these words describes the picture best?"
    count = len(encoder.letter_ids)
    choices = [PROBE_CHOICES[i % len(PROBE_CHOICES)] + str(i // len(PROBE_CHOICES) or "") for i in range(count)]
    row = replace(text_row(question, choices, "general"), width=size[0], height=size[1])
    half = count // 2
    letters = "".join(ALL_LETTERS[:count])
    orders = (letters, letters[half:][::-1] + letters[:half])  # abcd and dcab
    encoded = encoder.encode(row, orders, ViewConfig())
    return encoded, inputs_of(encoder, Image.fromarray(pixels), encoded, ViewConfig())


def _letters_follow(encoder: PassEncoder, row: PassRow) -> bool:
    """Whether the processor turns the prompt and a letter into the prompt's tokens and the letter's."""
    image, options = Image.new("RGB", (96, 64)), encoder.image_options(ViewConfig())
    letters = encoder.renderer.letters[: len(encoder.letter_ids)]
    texts = [row.texts[0], *(row.texts[0] + letter for letter in letters)]
    prompt, *answered = (encoder.run(encoder.processor, t, [image], options)["input_ids"][0].tolist() for t in texts)
    return answered == [[*prompt, letter] for letter in encoder.letter_ids]


def _own_logits(base: Base, made: dict[str, Any]) -> torch.Tensor:
    """The logits (vocabulary) that the network's own forward gives after one pass's last token."""
    arguments = {name: _moved(value, base.device, base.dtype) for name, value in made.items()}
    with torch.autocast(base.device.type, dtype=base.dtype, enabled=base.dtype is not torch.float32):
        return base.network(**arguments).logits[0, last_token(made)].float()


def _batch_agrees(
    decoder: PassDecoder, encoded: Sequence[PassRow], inputs: Sequence[RowInputs], alone_BKH: torch.Tensor
) -> bool:
    """Whether passes computed as one padded batch give what they give one by one."""
    try:
        together_BKH = decoder.states(encoded, inputs)
    except torch.OutOfMemoryError:
        raise
    except Exception:  # some processors' outputs cannot be joined: such passes are computed one by one
        return False
    tolerance = BATCH_TOLERANCE[decoder.base.dtype is not torch.float32]
    return _close(together_BKH.flatten(0, 1), alone_BKH.flatten(0, 1), tolerance)


def _close(found: torch.Tensor, wanted: torch.Tensor, tolerance: float) -> bool:
    """Whether each row of `found` is finite and differs from its row of `wanted` by at most this share of its norm."""
    found, wanted = found.float(), wanted.float()
    return bool(((found - wanted).norm(dim=-1) <= tolerance * wanted.norm(dim=-1)).all())
