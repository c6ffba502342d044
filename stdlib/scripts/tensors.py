"""What a model of tensors takes and gives, as its card (`pipe-model.json`) says it, and the files of its inputs."""

import json
import re

import numpy

# The types of elements that the engines read and write.
DTYPES = ("bool", "uint8", "int8", "int32", "int64", "float16", "float32", "float64")


class Odd(Exception):
    """An input or output that can't be measured, with the reason."""


def outlet(name, dtype, shape):
    """An input or output: its dimensions are numbers, or names of what is free, or None."""
    if dtype not in DTYPES:
        raise Odd(f"`{name}` holds {dtype}, and only {', '.join(DTYPES)} can be measured")
    return {"name": name, "dtype": dtype, "shape": list(shape)}


def write_card(folder, file, inputs, outputs, dtype="fp32"):
    """Writes `pipe-model.json`, from which an engine knows what the model's file is; no two names may have the same
    file."""
    for outlets in (inputs, outputs):
        files = [file_of(outlet["name"]) for outlet in outlets]
        twice = next((file for file in files if files.count(file) > 1), None)
        if twice:
            raise Odd(f"two of them have the file `{twice}`; give one of them another name")
    card = {"format": 1, "file": file, "dtype": dtype, "kind": "tensors", "inputs": inputs, "outputs": outputs}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pipe-model.json").write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")


def file_of(name):
    """The file of an input: its name, with every character that a file's name should not hold made `_`."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", name) + ".npy"


def save(folder, name, array):
    """Writes an input's file. Version 1.0 is named, so that another numpy writes no other header."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / file_of(name), "wb") as file:
        numpy.lib.format.write_array(file, numpy.asarray(array, order="C"), version=(1, 0), allow_pickle=False)
