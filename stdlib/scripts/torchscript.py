"""Traces a Llama checkpoint into TorchScript: `model.pt` and `pipe-model.json`.

The trace is compared with the module at lengths that it was not made with.
"""

import argparse
import pathlib
import sys
import warnings

import torch

import exported
import llama

# Lengths of the sequence and of the cache: one pair to trace with, and those that the trace is tried with.
# The first token with an empty cache, a prompt, one decoded token and a longer one are different shapes.
TRACED = (5, 3)
TRIED = [(7, 0), (1, 0), (1, 11), (4, 9)]

# How far the trace may be from the module: a few of the last digits that the data type has near 1.
TOLERANCES = {"fp32": 1e-4, "fp16": 1e-2, "bf16": 1e-1}
DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def trace(model, config, dtype):
    with warnings.catch_warnings():
        # Lengths stay symbolic in the trace, which `check` shows; and that TorchScript is old is known.
        warnings.simplefilter("ignore")
        return torch.jit.trace(model, llama.example(config, *TRACED, DTYPES[dtype]), check_trace=False)


def check(model, path, config, dtype):
    """Ends the script where the written file says something else than the module."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loaded = torch.jit.load(str(path))
    for length, remembered in TRIED:
        inputs = llama.example(config, length, remembered, DTYPES[dtype])
        for name, ours, theirs in zip(llama.names(config)[1], model(*inputs), loaded(*inputs)):
            at = f"`{name}` at {length} tokens after {remembered}"
            if ours.shape != theirs.shape:
                sys.exit(f"torchscript: {at} is {tuple(theirs.shape)}, and {tuple(ours.shape)} in the module")
            error = (ours.float() - theirs.float()).abs().max().item()
            if not error <= TOLERANCES[dtype]:
                sys.exit(f"torchscript: {at} differs from the module by {error:g}, more than {TOLERANCES[dtype]:g}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, type=pathlib.Path, help="a checkpoint's folder")
    parser.add_argument("--dtype", default="fp32", choices=DTYPES, help="of the weights and the arithmetic")
    parser.add_argument("--out", required=True, type=pathlib.Path)
    arguments = parser.parse_args()

    dtype = arguments.dtype
    model, config = llama.load(arguments.model)
    model = llama.convert(model, config, DTYPES[dtype])
    arguments.out.mkdir(parents=True, exist_ok=True)
    path, saved = arguments.out / "model.pt", arguments.out / "model.pt.part"
    with torch.no_grad():
        torch.jit.save(trace(model, config, dtype), str(saved))
        exported.write_trace(saved, path)
        saved.unlink()
        check(model, path, config, dtype)
    llama.write_card(config, "model.pt", arguments.out, dtype)


if __name__ == "__main__":
    try:
        main()
    except (llama.CheckpointError, OSError) as error:
        sys.exit(f"torchscript: {error}")
