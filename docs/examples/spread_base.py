"""A base on one GPU and spread over several: seconds a row, memory of each, and whether the states are equal.

python docs/examples/spread_base.py [--shape qwen3.5-27b] [--devices 2]

The base has random weights of a published shape, in bfloat16. It must fit one GPU, so that both can be compared.
"""

import argparse
import statistics
import time

import torch
from accelerate import dispatch_model

from vqaflow.bench.made_rows import MadeRows
from vqaflow.bench.random_base import build
from vqaflow.model.base import Base
from vqaflow.model.decoder.fused_decoder import FusedDecoder
from vqaflow.model.spread import places_of_parts
from vqaflow.plan.published import PUBLISHED

ORDERS, ROWS, RUNS = 4, 8, 5
GIB = 2**30


def measured(base: Base, made: MadeRows, devices: int) -> torch.Tensor:
    """Print seconds a row and the memory of each GPU; returns the states of the rows."""
    for device in range(devices):
        torch.cuda.reset_peak_memory_stats(device)
    decoder = FusedDecoder(base, compile_kernels=True)
    encoded = [made.encoded(i, ORDERS) for i in range(ROWS)]
    features = [one.to(base.device, base.dtype) for one in made.features(ROWS, torch.Generator().manual_seed(0))]
    seconds = []
    for _ in range(RUNS + 2):  # the first two compile and warm up
        torch.cuda.synchronize()
        began = time.perf_counter()
        with torch.no_grad():
            states = decoder.states(encoded, features).cpu()
        seconds.append((time.perf_counter() - began) / ROWS)
    peaks = ", ".join(f"{torch.cuda.max_memory_allocated(device) / GIB:.1f}" for device in range(devices))
    kept = seconds[2:]
    spread = f"{statistics.median(kept):.4f} s/row ({min(kept):.4f} to {max(kept):.4f})"
    print(f"{devices} GPU(s): {spread}, peak GiB {peaks}", flush=True)
    return states


def main() -> None:
    """Measure both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", default="qwen3.5-27b", choices=sorted(PUBLISHED))
    parser.add_argument("--devices", type=int, default=2)
    given = parser.parse_args()
    device = torch.device("cuda", 0)
    print(f"{given.shape}, {torch.cuda.get_device_name(0)}, torch {torch.__version__}", flush=True)
    base, made = build(given.shape, device, "none", torch.bfloat16), MadeRows(PUBLISHED[given.shape])
    one = measured(base, made, 1)
    places = places_of_parts(base.network, base.family, "none", given.devices)
    dispatch_model(base.network, places)
    torch.cuda.empty_cache()
    print(compared(one, measured(base, made, given.devices)))


def compared(one: torch.Tensor, several: torch.Tensor) -> str:
    """Whether states are equal, and if not, how far they are apart."""
    if torch.equal(one, several):
        return "the states are equal bit for bit"
    return f"the states differ by {((one - several).float().norm() / one.float().norm()).item():.2g} of their norm"


if __name__ == "__main__":
    main()
