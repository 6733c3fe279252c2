"""The process that `bench train` starts for a row of Unsloth or Liger: `python -m vqaflow.bench.peer_process FOLDER`.

FOLDER holds checkpoint/, inputs.pt and job.json; the figures go to found.json. Both train adapters on the decoder's
linears with a frozen tower in every step, and call the library's forward with labels, which are set at the answer only.
The optimizer's step is that of the other recipes.

Unsloth has the settings of its notebooks for vision models. Liger is what `use_liger_kernel` of the Trainer makes of
Transformers + PEFT: its norms, SwiGLU and rotary positions, and logits that are never kept, under non-reentrant
checkpointing.
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
    import importlib.metadata

    import torch
    import transformers
    from peft import LoraConfig, get_peft_model
    from transformers.integrations.liger import apply_liger_kernel

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
    decoder = rf".*language_model.*\.({'|'.join(job['targets'])})"
    network = get_peft_model(network, LoraConfig(r=job["r"], lora_alpha=job["alpha"], target_modules=decoder))
    return importlib.metadata.version("liger-kernel"), network.train()


NETWORKS = {"unsloth": unsloth_network, "liger": liger_network}


def main(folder: Path) -> None:
    """Measure, and write found.json."""
    job = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    version, network = NETWORKS[job["library"]](str(folder / "checkpoint"), job)
    import torch  # after Unsloth

    from vqaflow.plan.timing import measure

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
        "seconds": seconds,
        "peak GiB": peak,
        "adapter weights": sum(weight.numel() for weight in weights),
        "losses": [float(loss) for loss in losses],
    }
    (folder / "found.json").write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
