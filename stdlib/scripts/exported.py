"""What the exporting scripts share: what tools write of paths, times and users into their files is taken out."""

import struct
import zipfile

# Where a tensor's bytes may start, and the mark of the padding before them, as torch itself writes them.
ALIGNMENT = 64
PADDING = 0x4246

# Metadata of ONNX that differs between two folders, or between two runs.
STRIPPED = ("pkg.torch.onnx.stack_trace", "pkg.torch.onnx.fx_node")


def write_trace(saved, path):
    """Copies a saved trace, keeping only what does not depend on where and by whom it was made: no source positions
    (`.debug_pkl`), no times, and not the identity that torch derives from them."""
    with zipfile.ZipFile(saved) as source, zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as target:
        for entry in sorted(source.infolist(), key=lambda entry: entry.filename):
            name = entry.filename.split("/", 1)[1]
            # With operators that were changed since (`gelu` is one), the archive's version lies in `.data/` too.
            if name.endswith(".debug_pkl") or name.startswith(".data/") and name != ".data/version":
                continue
            copy = zipfile.ZipInfo("model/" + name, date_time=(1980, 1, 1, 0, 0, 0))
            copy.create_system = 3
            copy.external_attr = 0o644 << 16
            copy.file_size = entry.file_size
            taken = target.fp.tell() + 30 + len(copy.filename.encode()) + 4
            padding = -taken % ALIGNMENT
            copy.extra = struct.pack("<HH", PADDING, padding) + b"Z" * padding
            with source.open(entry) as reader, target.open(copy, "w") as writer:
                while block := reader.read(1 << 22):
                    writer.write(block)


def strip(model):
    """Takes away what depends on the place and time of the export; the name scopes of nodes stay."""
    holders = [model, model.graph, *model.functions.values()]
    for graph in (model.graph, *model.functions.values()):
        for node in graph.all_nodes():
            holders += [node, *node.outputs]
        holders += list(graph.inputs)
    holders += model.graph.initializers.values()
    for holder in holders:
        for key in STRIPPED:
            holder.metadata_props.pop(key, None)
        holder.doc_string = None
