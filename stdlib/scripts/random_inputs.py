"""Makes inputs for a model from a seed, by integer arithmetic: the same bytes on every machine.

Floats are spread evenly over -1 to 1, whole numbers over 0 to a bound, truth values are even. Free dimensions get
the sizes that are given: the batch, if it is the first, others by their names or by the input and their place.
"""

import argparse
import json
import pathlib
import sys

import numpy

import tensors
from make_llama import STEP, mix, stream


def values(seed, name, dtype, count, below):
    """`count` numbers of a type, by splitmix64."""
    words = numpy.arange(count, dtype=numpy.uint64)
    words *= STEP
    words += stream(seed, name)
    mix(words)
    if dtype.startswith("float"):
        # As many bits as the type holds without rounding; a power of two takes them to -1 up to 1.
        bits = 11 if dtype == "float16" else 24
        whole = (words >> numpy.uint64(64 - bits)).astype(numpy.int64) - (1 << (bits - 1))
        return (whole / float(1 << (bits - 1))).astype(dtype)
    if dtype == "bool":
        return (words >> numpy.uint64(63)).astype(bool)
    return (words % numpy.uint64(below)).astype(dtype)


def sizes(text, outlets):
    """`height=224 width=224` as a dictionary; every name must be one of a free dimension."""
    found = {}
    for pair in text.split():
        name, equals, size = pair.partition("=")
        if not equals or not size.isdigit() or size == "0":
            sys.exit(f"random_inputs: `{pair}` in `dims` is no size; write NAME=SIZE, as `height=224`")
        found[name] = int(size)
    dims = [(outlet["name"], *dim) for outlet in outlets for dim in enumerate(outlet["shape"])]
    free = {known for name, index, dim in dims if not isinstance(dim, int) for known in (dim, f"{name}.{index}") if known}
    for name in found:
        if name not in free:
            known = ", ".join(f"`{dim}`" for dim in sorted(free)) or "none"
            sys.exit(f"random_inputs: the model has no free dimension `{name}`; it has {known}")
    return found


def shape(outlet, batch, given):
    """The dimensions of an input, each free one with its size."""
    found = []
    for index, dim in enumerate(outlet["shape"]):
        if isinstance(dim, int):
            found.append(dim)
        elif dim in given:
            found.append(given[dim])
        elif f"{outlet['name']}.{index}" in given:
            found.append(given[f"{outlet['name']}.{index}"])
        elif index == 0:
            found.append(batch)
        else:
            place = f"dimension {index} of the input `{outlet['name']}`"
            sys.exit(f"random_inputs: {place} is free; say its size by `dims=\"{dim or outlet['name'] + f'.{index}'}=64\"`")
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, type=pathlib.Path, help="a folder with pipe-model.json")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--dims", default="", help="NAME=SIZE of further free dimensions; INPUT.INDEX for one without a name")
    parser.add_argument("--integers-below", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0, help="0 to 2^64-1")
    parser.add_argument("--out", required=True, type=pathlib.Path)
    arguments = parser.parse_args()

    card = json.loads((arguments.model / "pipe-model.json").read_text(encoding="utf-8"))
    if card.get("kind") != "tensors":
        sys.exit("random_inputs: the model is an LLM, which takes tokens: see the recipe `tokens`")
    given = sizes(arguments.dims, card["inputs"])
    arguments.out.mkdir(parents=True, exist_ok=True)
    for outlet in card["inputs"]:
        dims = shape(outlet, arguments.batch, given)
        count = 1
        for dim in dims:
            count *= dim
        made = values(arguments.seed, outlet["name"], outlet["dtype"], count, arguments.integers_below)
        tensors.save(arguments.out, outlet["name"], made.reshape(dims))


if __name__ == "__main__":
    try:
        main()
    except OSError as error:
        sys.exit(f"random_inputs: {error}")
