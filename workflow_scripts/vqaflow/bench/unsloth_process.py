"""The process that `bench train` starts for its Unsloth row: `python -m vqaflow.bench.unsloth_process FOLDER`.

FOLDER holds checkpoint/, inputs.pt and job.json; the figures go to found.json. The settings are those of Unsloth's
notebooks for vision models: its own gradient checkpointing, adapters on all linears of the decoder, a frozen tower in
every step, its forward with labels, which are set at the answer only. The optimizer's step is that of the others.
"""

import json
import sys
from pathlib import Path

REPEATS, WARMUPS = 7, 3


def main(folder: Path) -> None:
    """Measure, and write found.json."""
    job = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    import unsloth  # before torch and transformers, which it changes

    # isort: split
    import torch
    from unsloth import FastVisionModel

    from vqaflow.plan.timing import measure

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network, _ = FastVisionModel.from_pretrained(
        str(folder / "checkpoint"),
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
        "version": unsloth.__version__,
        "seconds": seconds,
        "peak GiB": peak,
        "adapter weights": sum(weight.numel() for weight in weights),
        "losses": [float(loss) for loss in losses],
    }
    (folder / "found.json").write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
