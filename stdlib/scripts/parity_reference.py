"""What an ONNX model is held against, for `parity_bisect.py`: another ONNX file, or the torch program it came from.

Both are asked the same: which tensors they have in common with the model, and for the values of some of them. The
model itself is not run here.
"""

import contextlib
import io
import warnings

import numpy
import onnx

import onnx_cuts


class OnnxReference:
    """Another ONNX file; tensors of the same name mean the same."""

    def __init__(self, path):
        self.graph = onnx_cuts.Graph(path, "the reference")
        self.about = "another ONNX file, tensors matched by their names"

    def match(self, graph):
        """Tensors of `graph` and what they are called here; and its outputs that are among them."""
        if set(graph.inputs) != set(self.graph.inputs):
            ours, theirs = (", ".join(f"`{name}`" for name in part.inputs) or "none" for part in (graph, self.graph))
            raise onnx_cuts.CutError(f"the model takes {ours} and its reference {theirs}; both must take the same")
        made = self.graph.made_by.keys() & self.graph.dynamic
        matched = {name: name for name in graph.made_by if name in made}
        # Outputs are what a model means, so that without names their places tell them.
        if len(graph.outputs) == len(self.graph.outputs):
            matched.update(pair for pair in zip(graph.outputs, self.graph.outputs) if pair[1] in made)
        return matched, [name for name in graph.outputs if name in matched]

    def values(self, names, feeds):
        return self.graph.run(names, feeds)[0]

    def weight(self, name):
        return self.graph.weight(name)

    def source(self, name):
        """The node that makes a tensor, for what its metadata tells."""
        index, _ = self.graph.made_by[name]
        return origin(self.graph.nodes[index])

    def nodes(self, name, stop):
        """The nodes that make a tensor out of those in `stop`."""
        return [self.graph.nodes[index] for index in self.graph.behind([name], set(stop) - {name})]


class TorchReference:
    """A program of torch as its ONNX exporter sees it: exported again, its nodes run one by one in torch. The exporter
    gives a tensor the name of the node of torch that it comes from."""

    def __init__(self, exported, about):
        self.program, self.about = exported, about
        self.by_name = {node.name: node for node in exported.graph.nodes}

    def match(self, graph):
        import torch

        taken = self.program.graph_signature.user_inputs
        if len(taken) != len(graph.inputs):
            raise onnx_cuts.CutError(f"the model takes {len(graph.inputs)} inputs and the torch program {len(taken)}")
        tensors = {name for name, node in self.by_name.items() if isinstance(node.meta.get("val"), torch.Tensor)}
        matched = {name: name for name in graph.made_by if name in tensors and name in graph.dynamic}
        given = self.program.graph_signature.user_outputs
        if len(given) != len(graph.outputs):
            raise onnx_cuts.CutError(f"the model gives {len(graph.outputs)} outputs and the torch program {len(given)}")
        matched.update(pair for pair in zip(graph.outputs, given) if pair[0] in graph.made_by and pair[1] in tensors)
        self.order = list(graph.inputs)
        return matched, [name for name in graph.outputs if name in matched]

    def values(self, names, feeds):
        import torch

        wanted, kept = set(names), {}

        class Enough(Exception):
            pass

        class Keeper(torch.fx.Interpreter):
            def run_node(self, node):
                value = super().run_node(node)
                if node.name in wanted:
                    kept[node.name] = numpy.array(value.detach().float() if value.dtype == torch.bfloat16 else value)
                    if len(kept) == len(wanted):
                        raise Enough
                return value

        given = iter([torch.from_numpy(numpy.array(feeds[name])) for name in self.order])
        arguments = []
        for spec in self.program.graph_signature.input_specs:
            if spec.kind.name == "USER_INPUT":
                arguments.append(next(given))
            else:
                home = self.program.state_dict if spec.target in self.program.state_dict else self.program.constants
                arguments.append(home[spec.target])
        with torch.no_grad(), contextlib.suppress(Enough):
            Keeper(self.program.graph_module).run(*arguments)
        return kept

    def weight(self, name):
        # `python-model` exports a module inside another.
        weights = self.program.state_dict
        tensor = weights.get(name, weights.get(f"model.{name}"))
        return None if tensor is None else tensor.detach().numpy()

    def source(self, name):
        meta = self.by_name[name].meta
        modules = [(path, kind) for path, kind in meta.get("nn_module_stack", {}).values()]
        found = {"fx-node": self.by_name[name].format_node()}
        if modules:
            path, kind = modules[-1]
            found["module"] = f"{path or 'the model itself'} ({kind if isinstance(kind, str) else kind.__name__})"
        if meta.get("stack_trace"):
            found["source"] = own_line(meta["stack_trace"])
        return found

    def nodes(self, name, stop):
        return None


def exported_again(model, example=None):
    """What torch's ONNX exporter makes of a module or of a program: the program that it translates."""
    import torch

    noise = io.StringIO()
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(noise), contextlib.redirect_stderr(noise):
            warnings.simplefilter("ignore")
            made = torch.onnx.export(model, *([example] if example else []), dynamo=True, verbose=False)
    except Exception as error:
        raise onnx_cuts.CutError(f"the reference cannot be exported by torch: {error}")
    return made.exported_program


def own_line(trace):
    """The innermost line of a stack trace that is the user's own and not a library's: `net.py, line 7: return x`."""
    lines = [line.strip() for line in trace.splitlines() if line.strip()]
    places = [at for at, line in enumerate(lines) if line.startswith('File "')]
    own = [at for at in places if "/torch/" not in lines[at] and "<eval_with_key>" not in lines[at]] or places
    if not own:
        return None
    parts = lines[own[-1]].split('"')
    text = f": {lines[own[-1] + 1]}" if own[-1] + 1 < len(lines) else ""
    return f"{parts[1].rsplit('/', 1)[-1]}{parts[2].split(', in ')[0]}{text}"


def origin(node):
    """What a node's metadata tells of where it comes from."""
    told = {entry.key: entry.value for entry in node.metadata_props}
    found = {}
    scopes, kinds = listed(told.get("pkg.torch.onnx.name_scopes")), listed(told.get("pkg.torch.onnx.class_hierarchy"))
    if len(scopes) > 1 and len(scopes) == len(kinds):
        # The last scope is the operator's own.
        found["module"] = f"{scopes[-2] or 'the model itself'} ({kinds[-2]})"
    elif told.get("namespace"):
        found["module"] = told["namespace"]
    if told.get("pkg.torch.onnx.fx_node"):
        found["fx-node"] = told["pkg.torch.onnx.fx_node"]
    if told.get("pkg.torch.onnx.stack_trace"):
        found["source"] = own_line(told["pkg.torch.onnx.stack_trace"])
    elif node.doc_string:
        found["source"] = node.doc_string.strip().splitlines()[-1]
    return found


def listed(text):
    """The texts of a list as the exporter writes it."""
    import ast

    try:
        found = ast.literal_eval(text or "[]")
    except (ValueError, SyntaxError):
        return []
    return found if isinstance(found, list) and all(isinstance(part, str) for part in found) else []


def attributes(node):
    """A node's attributes as plain values, those that hold graphs left out."""
    plain = [attribute for attribute in node.attribute if attribute.type != onnx.AttributeProto.GRAPH]
    return {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in plain}
