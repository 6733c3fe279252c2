"""The process that `bench train` starts for a row of Unsloth or Liger: `python -m vqaflow.bench.peer_process FOLDER`.

FOLDER holds checkpoint/, inputs.pt and job.json; the figures go to found.json. Both train adapters of the decoder in
bfloat16, with a frozen tower in every step, and call the library's forward with labels, set at the answer only.

Unsloth has the settings of its notebooks for vision models. Liger is what `use_liger_kernel` of the Trainer makes of
Transformers + PEFT, all that it replaces by default, under non-reentrant checkpointing, with adapters where ours are.
"""

import json
import sys
from pathlib import Path
from typing import Any

REPEATS, WARMUPS = 7, 3


def unsloth_network(checkpoint: str, job: dict[str, Any]) -> tuple[str, Any]:
    """Unsloth's version, and its network with an adapter."""
    import unsloth  # before torch and transformers, which it changes

    # isort: split
    import torch
    from unsloth import FastVisionModel

    network, _ = FastVisionModel.from_pretrained(
        checkpoint,
        max_seq_length=max(2048, job["tokens"]),
        dtype=torch.bfloat16,
        load_in_4bit=job["nf4"],
        load_in_16bit=not job["nf4"],
        use_gradient_checkpointing="unsloth",
    )
    network = FastVisionModel.get_peft_model(
        network,
        finetune_vision_layers=False,
        r=job["r"],
        lora_alpha=job["alpha"],
        lora_dropout=0,
        bias="none",
        use_gradient_checkpointing="unsloth",
    )
    FastVisionModel.for_training(network)
    return unsloth.__version__, network


def liger_network(checkpoint: str, job: dict[str, Any]) -> tuple[str, Any]:
    """Liger's version, and the network with its kernels and an adapter."""
    import importlib
    import importlib.metadata

    import torch
    import transformers
    from peft import LoraConfig, get_peft_model
    from transformers.integrations.liger import apply_liger_kernel

    kind = transformers.AutoConfig.from_pretrained(checkpoint).model_type
    if kind not in importlib.import_module("liger_kernel.transformers.monkey_patch").MODEL_TYPE_TO_APPLY_LIGER_FN:
        raise RuntimeError(f"Liger has no kernels for {kind}")
    stored = transformers.BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_compute_dtype=torch.bfloat16,
        llm_int8_skip_modules=["model.visual", "lm_head"],
    )
    network = transformers.AutoModelForImageTextToText.from_pretrained(
        checkpoint,
        dtype=torch.bfloat16,
        device_map={"": 0} if torch.cuda.is_available() else None,
        attn_implementation="sdpa",
        quantization_config=stored if job["nf4"] else None,
    )
    apply_liger_kernel(network, {})
    network.gradient_checkpointing_enable({"use_reentrant": False})
    config = LoraConfig(r=job["r"], lora_alpha=job["alpha"], target_modules=job["targets"])
    network = get_peft_model(network, config)
    return importlib.metadata.version("liger-kernel"), network.train()


NETWORKS = {"unsloth": unsloth_network, "liger": liger_network}


def main(folder: Path) -> None:
    """Measure, and write found.json."""
    job = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    version, network = NETWORKS[job["library"]](str(folder / "checkpoint"), job)
    import peft  # these after Unsloth
    import torch
    import transformers

    from vqaflow.plan.timing import measure

    torch.manual_seed(0)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    weights = [weight for weight in network.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=2e-5, fused=True)
    given = torch.load(folder / "inputs.pt", weights_only=True)
    inputs = {name: value.to(device) for name, value in given.items()}
    losses: list[torch.Tensor] = []

    def step() -> None:
        with torch.autocast(device.type, dtype=torch.bfloat16):
            loss = network(**inputs).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss.detach())

    seconds, peak = measure(step, device, REPEATS, WARMUPS)
    found = {
        "version": version,
        "versions": {module.__name__: module.__version__ for module in (torch, transformers, peft)},
        "seconds": seconds,
        "peak GiB": peak,
        "adapter weights": sum(weight.numel() for weight in weights),
        "losses": [float(loss) for loss in losses],
    }
    (folder / "found.json").write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
