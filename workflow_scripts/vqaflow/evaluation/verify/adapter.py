"""Would an adapter have an effect on a base, here and in other programs?

`vqaflow verify adapter DIR --base BASE` prints one line per check. Programs that serve adapters pass over a tensor
whose name they do not find, so that the base alone answers: this is found here.

Shapes: V words of the vocabulary.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from vqaflow.artifacts.adapter_files import RUN, WEIGHTS, adapter_config, read_run
from vqaflow.config.sections import ModelConfig
from vqaflow.evaluation.verify.engines import ENGINES, MERGE, command
from vqaflow.model.base import best_device, load_base
from vqaflow.model.base_digest import base_digest
from vqaflow.model.checkpoint import read_config, require_whole, without_weights
from vqaflow.model.decoder.merged_adapters import PREFIX
from vqaflow.model.families.known import family_of
from vqaflow.runtime.errors import UserError
from vqaflow.scoring.merge_adapter import checked_model

PROMPT = "Question: which of these is made of glass?\na. a bottle\nb. a newspaper\nAnswer:"
Line = tuple[str, str, str]


@dataclass(frozen=True)
class Given:
    """An adapter's folder and the base that it is meant for, read when a check needs them."""

    folder: Path
    model: ModelConfig

    @cached_property
    def config(self) -> dict[str, Any]:
        """The adapter's configuration."""
        return adapter_config(self.folder)

    @cached_property
    def tensors(self) -> dict[str, torch.Tensor]:
        """The adapter's tensors by name."""
        try:
            return load_file(self.folder / WEIGHTS)
        except SafetensorError as error:
            raise UserError(f"{self.folder / WEIGHTS}: damaged ({error}). Copy or train the adapter again.") from error

    @cached_property
    def network(self) -> Any:
        """The base's network, without its weights."""
        require_whole(self.model.base)
        return without_weights(read_config(self.model))

    @property
    def decoder(self) -> str:
        """The path of the base's decoder layers."""
        return f"{family_of(self.network.config.model_type, self.network).decoder}.layers."

    @property
    def modules(self) -> list[str]:
        """Full names of the modules that the adapter changes by pairs of matrices."""
        return sorted({_module(name) for name in self.tensors if ".lora_" in name})


def model_of(folder: Path, base: str | None, revision: str | None) -> ModelConfig:
    """The base that an adapter is checked with: `base`, or else the one that its configuration names."""
    config = adapter_config(folder) if folder.is_dir() and base is None else {}
    named = base or config.get("base_model_name_or_path")
    if not isinstance(named, str):
        raise UserError(f"{folder}: its files name no base. Add --base.")
    return ModelConfig(named, revision or config.get("revision"), "none", "auto", 0, 0)


def verify_adapter(folder: Path, model: ModelConfig, weights: bool = True) -> Iterator[Line]:
    """For each check yield its name, ``ok``, ``FAILED``, ``refused`` (by an engine) or ``skipped``, and what was found.

    Without `weights`, the base's weights are not loaded and no logits are compared.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: is not a folder. Give the folder of an adapter.")
    given, failed = Given(folder, model), set()
    checks: dict[str, Callable[[Given], str]] = {
        "files": check_files,
        "base": check_base,
        "names": check_names,
        "matrices": check_matrices,
        "logits": check_logits,
    }
    for name, check in checks.items():
        if name == "logits" and not weights:
            yield name, "skipped", "the base's weights are not loaded"
        elif "files" in failed or (name == "logits" and "names" in failed):
            yield name, "skipped", f"because {'files' if 'files' in failed else 'names'} failed"
        else:
            try:
                yield name, "ok", check(given)
            except UserError as error:
                failed.add(name)
                yield name, "FAILED", str(error)
    if failed.isdisjoint({"files", "names"}):
        yield from engine_lines(given)


def engine_lines(given: Given) -> Iterator[Line]:
    """What each engine would make of an adapter."""
    linears = {name.rpartition(".")[2] for name in given.modules}
    outside = [name for name in given.modules if not name.startswith(given.decoder)]
    for engine, problems in ENGINES.items():
        if found := list(problems(given.config, linears, outside)):
            yield engine, "refused", f"{'; '.join(found)}. {MERGE}."
        else:
            yield engine, "ok", command(engine, given.model.base, given.folder, given.config["r"])


def check_files(given: Given) -> str:
    """The configuration and the weights can be read, and all numbers are finite."""
    config, tensors = given.config, given.tensors
    bad = next((name for name, tensor in tensors.items() if not tensor.isfinite().all()), None)
    if bad or not tensors:
        what = f"{bad} is not finite" if bad else "it holds no tensors"
        raise UserError(f"{given.folder / WEIGHTS}: {what}. Copy or train the adapter again.")
    scaling = config["lora_alpha"] / (config["r"] ** 0.5 if config.get("use_rslora") else config["r"])
    return f"{len(tensors)} tensors, r {config['r']}, scaling {scaling:g}"


def check_base(given: Given) -> str:
    """The base is the one that run.json says; adapters of other programs have none."""
    require_whole(given.model.base)
    if not (given.folder / RUN).is_file():
        return f"no {RUN}: not known on which base it was trained"
    trained, ours = read_run(given.folder)["parity"].get("base"), base_digest(given.model)
    if trained != ours:
        raise UserError(
            f"{given.folder / RUN}: the adapter was trained on another base than {given.model.base}, or on another "
            "revision. Give --base, and --revision for a name on the hub, as model.base was in training."
        )
    return "the one that it was trained on"


def check_names(given: Given) -> str:
    """Each tensor belongs to a linear of the base, with its shape: what matches nothing is ignored without a word."""
    modules = dict(given.network.named_modules())
    odd = [name for name in given.tensors if ".lora_" not in name]
    lost = [name for name in given.modules if not hasattr(modules.get(name), "weight")]
    if odd or lost:
        what = f"{odd[0]} is no matrix of LoRA" if odd else f"{given.model.base} has no {lost[0]}"
        count = len(odd) or len(lost)
        raise UserError(
            f"{given.folder / WEIGHTS}: {what} ({count} such {'tensors' if odd else 'modules'}). vLLM and SGLang would "
            "ignore it and let the base answer. Use the base and the library's version that it was trained with."
        )
    for name, tensor in given.tensors.items():
        shape = modules[_module(name)].weight.shape
        side, wanted = (1, shape[1]) if ".lora_A" in name else (0, shape[0])
        if tensor.dim() != len(shape) or tensor.shape[side] != wanted:
            raise UserError(
                f"{given.folder / WEIGHTS}: {name} has the shape {(*tensor.shape,)}, but the base's weight there has "
                f"{(*shape,)}. Use the base that it was trained on."
            )
    return f"all {len(given.modules)} modules are in the base"


def check_matrices(given: Given) -> str:
    """Not all products B·A are zero."""
    zero = [name for name, tensor in given.tensors.items() if ".lora_B" in name and not tensor.any()]
    count = sum(".lora_B" in name for name in given.tensors)
    if len(zero) == count:
        raise UserError(
            f"{given.folder / WEIGHTS}: every matrix B is zero, so the adapter changes nothing. It was saved before it "
            "was trained: train it again."
        )
    return f"no matrix B is zero ({count})" if not zero else f"{len(zero)} of {count} matrices B are zero: {zero[0]}"


@torch.no_grad()
def check_logits(given: Given) -> str:
    """By plain PEFT and the library's forward, the adapter changes the logits of a short prompt."""
    from peft import PeftModel

    base = load_base(*checked_model(given.model, best_device()))
    tokens = base.processor.tokenizer(PROMPT, return_tensors="pt")["input_ids"].to(base.device)
    try:
        tuned = PeftModel.from_pretrained(base.network, str(given.folder)).eval()
    except (RuntimeError, ValueError, KeyError) as error:
        raise UserError(
            f"{given.folder}: PEFT cannot load it ({error}). Use the base that it was trained on."
        ) from None
    with_V = tuned(input_ids=tokens).logits[0, -1].float()
    with tuned.disable_adapter():
        without_V = tuned(input_ids=tokens).logits[0, -1].float()
    change = float((with_V - without_V).abs().max())
    if not change > 0:
        raise UserError(
            f"{given.folder}: the adapter changes no logit of {given.model.base}. It was not trained, or PEFT does not "
            "find its modules: compare its names with those of the base."
        )
    return f"PEFT loads it; the logits after a short prompt change by up to {change:.3g}"


def _module(name: str) -> str:
    """The base's module that a tensor of an adapter changes."""
    return name.removeprefix(PREFIX).partition(".lora_")[0]
