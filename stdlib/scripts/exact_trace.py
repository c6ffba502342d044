"""What a traced model gives in fp64 on the CPU: a `.npy` file for each output, from the inputs that the cells have.

The trace's own weights are widened, so they are those of the cells. Where the traced module casts to float32 itself, the
trace goes on doing so: the whole then ends in float32, which is refused, or goes on in fp64 with that step rounded, and
the noise that a tolerance is calibrated by is smaller than it might be, never larger.
"""

import argparse
import json
import pathlib
import sys

import numpy
import torch

import tensors


def read_card(folder):
    path = folder / "pipe-model.json"
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        sys.exit(f"exact_trace: `{path}` is no model's card; give the folder that the torch engine takes")
    if card.get("kind") != "tensors" or not str(card.get("file", "")).endswith(".pt"):
        sys.exit(f"exact_trace: `{path}` describes no trace of tensors; of a language model `exact-llama` is the recipe")
    return card


def read_input(folder, name):
    path = folder / tensors.file_of(name)
    try:
        array = numpy.load(path, allow_pickle=False)
    except (FileNotFoundError, ValueError) as error:
        sys.exit(f"exact_trace: the input `{name}`: {error}")
    tensor = torch.from_numpy(numpy.ascontiguousarray(array))
    return tensor.double() if tensor.is_floating_point() else tensor


def leaves(value):
    """The tensors of what a trace gives, in order, as the torch engine takes them."""
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, (tuple, list)):
        return [leaf for part in value for leaf in leaves(part)]
    sys.exit(f"exact_trace: the trace gives a {type(value).__name__}; only tensors can be compared")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, type=pathlib.Path, help="the folder that the torch engine takes")
    parser.add_argument("--inputs", required=True, type=pathlib.Path, help="a folder with a `.npy` file for each input")
    parser.add_argument("--out", required=True, type=pathlib.Path)
    arguments = parser.parse_args()

    card = read_card(arguments.model)
    trace = torch.jit.load(str(arguments.model / card["file"]), map_location="cpu").double().eval()
    inputs = [read_input(arguments.inputs, outlet["name"]) for outlet in card["inputs"]]
    with torch.no_grad():
        outputs = leaves(trace(*inputs))
    if len(outputs) != len(card["outputs"]):
        sys.exit(f"exact_trace: the trace gives {len(outputs)} outputs, and its card says {len(card['outputs'])}")
    for outlet, tensor in zip(card["outputs"], outputs):
        if tensor.is_floating_point() and tensor.dtype != torch.float64:
            cast = f"`{outlet['name']}` is {tensor.dtype} though all weights are fp64: the model casts it"
            sys.exit(f"exact_trace: {cast}, so there is no exact output; write `max-abs` in place of a calibrated tolerance")
        tensors.save(arguments.out, outlet["name"], tensor.contiguous().numpy())


if __name__ == "__main__":
    try:
        main()
    except (RuntimeError, OSError) as error:
        sys.exit(f"exact_trace: {error}")
