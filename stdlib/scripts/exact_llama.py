"""What a Llama checkpoint says after each token of a sequence, in fp64 on the CPU: `logits.npy`, positions x vocabulary.

The same weights and tokens as a cell has, with the whole arithmetic in fp64: what a cell's own data type loses is what
its logits differ from these by. All tokens go through the model in one pass, since fp64 loses next to nothing between a
pass over all and one over each.
"""

import argparse
import pathlib
import sys

import numpy
import torch

import llama


def read_tokens(path, count, vocabulary):
    tokens = numpy.load(path, allow_pickle=False)
    if tokens.ndim != 1 or tokens.dtype != numpy.int64 or len(tokens) < count:
        sys.exit(f"exact_llama: `{path.name}` must be a row of {count} or more int64 numbers")
    tokens = tokens[:count]
    if not all(0 <= token < vocabulary for token in tokens.tolist()):
        sys.exit(f"exact_llama: `{path.name}` has a token outside of the vocabulary of {vocabulary}")
    return torch.from_numpy(tokens).reshape(1, count)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, type=pathlib.Path, help="a checkpoint's folder")
    parser.add_argument("--tokens", required=True, type=pathlib.Path, help="the token file of the cells")
    parser.add_argument("--prompt-tokens", required=True, type=int)
    parser.add_argument("--new-tokens", required=True, type=int)
    parser.add_argument("--out", required=True, type=pathlib.Path)
    arguments = parser.parse_args()

    model, config = llama.load(arguments.model)
    model = llama.convert(model, config, torch.float64)
    tokens = read_tokens(arguments.tokens, arguments.prompt_tokens + arguments.new_tokens, config.vocabulary)
    cache = [torch.zeros(1, config.kv_heads, 0, config.head_dim, dtype=torch.float64) for _ in range(2 * config.layers)]
    with torch.no_grad():
        logits = model(tokens, *cache)[0][0]
    if logits.dtype != torch.float64:
        sys.exit(f"exact_llama: the logits are {logits.dtype}: something in the model is narrower than fp64")
    arguments.out.mkdir(parents=True, exist_ok=True)
    with open(arguments.out / "logits.npy", "wb") as file:
        # Version 1.0 is named, so that another numpy writes no other header.
        numpy.lib.format.write_array(file, logits.numpy(), version=(1, 0), allow_pickle=False)


if __name__ == "__main__":
    try:
        main()
    except (llama.CheckpointError, OSError, ValueError) as error:
        sys.exit(f"exact_llama: {error}")
