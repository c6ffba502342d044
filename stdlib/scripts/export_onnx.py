"""Exports a Llama checkpoint to ONNX: `model.onnx`, `model.onnx.data` and `pipe-model.json`.

Sequence and cache may have any length. The exporter notes stack traces, with the paths of this machine, in
the metadata of each node; they go, while the name scopes stay. The file that was written is checked.
"""

import argparse
import contextlib
import io
import logging
import pathlib
import sys
import warnings

import onnx
import onnx_ir
import torch

import exported
import llama

# Older ones have no functions for what the exporter writes, newer ones no support in its libraries.
OPSETS = range(18, 24)
DEFAULT_OPSET = 20


def export(model, config, opset):
    """The exporter's program; what it prints is kept back and shown if it fails."""
    inputs, outputs = llama.names(config)
    sequence, remembered = torch.export.Dim("sequence"), torch.export.Dim("past")
    shapes = ({1: sequence}, tuple({2: remembered} for _ in inputs[1:]))
    noise = io.StringIO()
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(noise), contextlib.redirect_stderr(noise):
            warnings.simplefilter("ignore")
            return torch.onnx.export(
                model,
                llama.example(config, 5, 3),
                dynamo=True,
                dynamic_shapes=shapes,
                input_names=inputs,
                output_names=outputs,
                opset_version=opset,
                external_data=True,
                verbose=False,
            )
    except Exception as error:
        sys.stderr.write(noise.getvalue())
        sys.exit(f"export_onnx: the exporter failed at opset {opset}: {error}")


def check(path, config, opset):
    """Ends the script where the file is no valid ONNX or has other inputs, outputs or opset."""
    try:
        onnx.checker.check_model(str(path), full_check=True)
    except Exception as error:
        sys.exit(f"export_onnx: `{path}` is no valid ONNX file: {error}")
    model = onnx.load(str(path), load_external_data=False)
    found = [value.name for value in model.graph.input], [value.name for value in model.graph.output]
    if found != llama.names(config):
        sys.exit(f"export_onnx: `{path}` has other inputs or outputs: {found}")
    written = {entry.domain: entry.version for entry in model.opset_import}.get("")
    if written != opset:
        sys.exit(f"export_onnx: opset {opset} was asked for, and the exporter wrote {written}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, type=pathlib.Path, help="a checkpoint's folder")
    parser.add_argument("--opset", type=int, default=DEFAULT_OPSET, choices=OPSETS)
    parser.add_argument("--out", required=True, type=pathlib.Path)
    arguments = parser.parse_args()

    logging.disable(logging.WARNING)
    model, config = llama.load(arguments.model)
    with torch.no_grad():
        program = export(model, config, arguments.opset)
    exported.strip(program.model)
    arguments.out.mkdir(parents=True, exist_ok=True)
    path = arguments.out / "model.onnx"
    onnx_ir.save(program.model, path, external_data="model.onnx.data", size_threshold_bytes=1024)
    check(path, config, arguments.opset)
    llama.write_card(config, "model.onnx", arguments.out)


if __name__ == "__main__":
    try:
        main()
    except (llama.CheckpointError, OSError) as error:
        sys.exit(f"export_onnx: {error}")
