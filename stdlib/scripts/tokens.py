"""Makes the token file that every engine reads: int64 in NumPy's `.npy` format, by integer arithmetic.

The tokens are spread evenly over the model's vocabulary. The file is longer than any prompt, so that a
prompt's length is no input of it.
"""

import argparse
import json
import pathlib
import sys

import numpy

from make_llama import STEP, mix, stream


def tokens(seed, count, vocabulary):
    """`count` numbers below `vocabulary`, by splitmix64."""
    words = numpy.arange(count, dtype=numpy.uint64)
    words *= STEP
    words += stream(seed, "tokens")
    return (mix(words) % numpy.uint64(vocabulary)).astype("<i8")


def vocabulary_of(model):
    """The vocabulary's size, from the checkpoint's `config.json` or an exported model's `pipe-model.json`."""
    for file, name in [("config.json", "vocab_size"), ("pipe-model.json", "vocabulary")]:
        path = model / file
        if not path.exists():
            continue
        try:
            size = json.loads(path.read_text(encoding="utf-8"))[name]
        except (ValueError, KeyError, TypeError):
            sys.exit(f"tokens: `{path}` holds no `{name}`")
        if not isinstance(size, int) or size < 1:
            sys.exit(f"tokens: `{path}`: `{name}` is `{size}`, and must be a number above 0")
        return size
    sys.exit(f"tokens: `{model}` holds neither `config.json` nor `pipe-model.json`")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, type=pathlib.Path, help="a checkpoint's folder")
    parser.add_argument("--count", required=True, type=int)
    parser.add_argument("--seed", type=int, default=0, help="0 to 2^64-1")
    parser.add_argument("--out", required=True, type=pathlib.Path, help="the file to write")
    arguments = parser.parse_args()
    if arguments.count < 1:
        parser.error("`--count` must be at least 1")
    if not 0 <= arguments.seed < 2**64:
        parser.error("`--seed` must lie in 0 to 2^64-1")

    made = tokens(arguments.seed, arguments.count, vocabulary_of(arguments.model))
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    with open(arguments.out, "wb") as file:
        # Version 1.0 is named, so that another numpy writes no other header.
        numpy.lib.format.write_array(file, made, version=(1, 0), allow_pickle=False)


if __name__ == "__main__":
    try:
        main()
    except OSError as error:
        sys.exit(f"tokens: {error}")
