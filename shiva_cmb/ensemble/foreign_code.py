"""Finding Python code, and doors to it, in the configuration of a Keras model without loading the model.

Keras stores `Lambda` layers as marshalled bytecode and can import modules that a configuration names, so
loading a file may run whatever its author wished. The configuration is plain JSON: it can be looked at first.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

LEGACY_OPERATIONS = ("TFOpLambda", "SlicingOpLambda", "ClassMethod", "InstanceMethod", "InstanceProperty")
"""Keras 2 layers that call a TensorFlow function by its public name."""

_CODE_LAYERS = {
    "Lambda": "Python code stored in the file",
    "__lambda__": "Python code stored in the file",
    "TorchModuleWrapper": "a pickled PyTorch module",
    "TFSMLayer": "another model, loaded from a path",
    "JaxLayer": "a Python function",
    "FlaxLayer": "a Python function",
    "TensorFlowOpLayer": "a raw TensorFlow operation",
    "StringLookup": "a table that may be read from a path",
    "IntegerLookup": "a table that may be read from a path",
    "TextVectorization": "a table that may be read from a path",
}

# Names Keras 2 gives to arithmetic on tensors. TensorFlow's whole public interface can be named there, file
# access and `py_function` included, hence a list of what is harmless.
_HARMLESS = """
    __operators__.add __operators__.getitem __operators__.ge __operators__.gt __operators__.le
    __operators__.lt abs add cast clip_by_value compat.v1.concat compat.v1.image.resize_nearest_neighbor
    compat.v1.nn.softmax compat.v1.pad compat.v1.shape compat.v1.squeeze compat.v1.transpose concat
    convert_to_tensor divide exp expand_dims gather identity image.resize math.abs math.add math.divide
    math.divide_no_nan math.exp math.floor math.greater math.greater_equal math.less math.less_equal math.log
    math.maximum math.minimum math.multiply math.negative math.pow math.reduce_max math.reduce_mean
    math.reduce_min math.reduce_std math.reduce_sum math.reduce_variance math.round math.rsqrt math.sigmoid
    math.softplus math.sqrt math.square math.subtract math.tanh math.truediv maximum minimum multiply
    nn.avg_pool3d nn.elu nn.gelu nn.leaky_relu nn.max_pool3d nn.moments nn.relu nn.relu6 nn.selu nn.sigmoid
    nn.silu nn.softmax nn.swish nn.tanh ones_like pad pow reduce_max reduce_mean reduce_min reduce_sum repeat
    reshape reverse round shape sigmoid slice split sqrt square squeeze stack strided_slice subtract tanh tile
    transpose truediv unstack where zeros_like
"""
_HARMLESS_FUNCTIONS = frozenset(_HARMLESS.split())

# Where Keras 2 and 3 keep what a model is made of. Not every `keras` module: `keras.utils.get_file`, say,
# downloads, and a configuration may name a function as well as a layer.
_MODELLING = """
    activations constraints dtype_policies engine initializers layers losses metrics mixed_precision models
    ops optimizers quantizers regularizers
"""
_MODELLING_MODULES = frozenset(_MODELLING.split())
_NAMED_SETTINGS = ("Policy", "DTypePolicy")  # have a name in their configuration but are no layers


def find_foreign_code(config: object) -> tuple[str, ...]:
    """Everything in a model's configuration that could run code of the file's author when it is loaded.

    Args:
        config: the configuration as parsed from JSON, of Keras 2 or 3.

    Returns:
        One line per finding, `layer (class: what it is)`; empty for a model of built-in layers.
    """
    findings: dict[tuple[str, str], None] = {}
    for layer, entry in walk(config):
        kind = _foreign_kind(entry)
        if kind is not None:
            findings.setdefault((layer, kind))
    return tuple(f"{layer} ({kind})" for layer, kind in findings)


def legacy_operations(config: object) -> tuple[str, ...]:
    """Names of the TensorFlow functions that Keras 2 operation layers call, without repeats, in order."""
    names = {
        _called_function(entry): None
        for _, entry in walk(config)
        if entry.get("class_name") in LEGACY_OPERATIONS
    }
    return tuple(names)


def walk(config: object) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every mapping inside a configuration, in reading order, with the name of the layer it belongs to."""
    pending: list[tuple[str, object]] = [("the model", config)]
    while pending:  # no recursion: how deeply a file nests is its author's choice
        layer, value = pending.pop()
        if isinstance(value, Mapping):
            layer = _layer_name(value) or layer
            yield layer, value
            pending.extend((layer, inner) for inner in reversed(list(value.values())))
        elif isinstance(value, Sequence) and not isinstance(value, str):
            pending.extend((layer, inner) for inner in reversed(value))


def _layer_name(entry: Mapping[str, Any]) -> str | None:
    inner = entry.get("config")
    if "class_name" not in entry or not isinstance(inner, Mapping) or entry["class_name"] in _NAMED_SETTINGS:
        return None
    name = inner.get("name", entry.get("name"))
    return repr(name) if isinstance(name, str) else None


def _foreign_kind(entry: Mapping[str, Any]) -> str | None:
    class_name = entry.get("class_name")
    if isinstance(class_name, str):
        bare_name = class_name.rpartition(">")[2]
        if bare_name in _CODE_LAYERS:
            shown = "Lambda" if bare_name == "__lambda__" else bare_name
            return f"{shown}: {_CODE_LAYERS[bare_name]}"
        if bare_name in LEGACY_OPERATIONS:
            function = _called_function(entry)
            return None if function in _HARMLESS_FUNCTIONS else f"{bare_name}: the function {function!r}"
        module = entry.get("module")
        if module is not None and not _is_modelling_module(module, class_name):
            return f"{bare_name}: from the Python module {module!r}"
    elif "lambda" in (entry.get("function_type"), entry.get("output_shape_type")):
        return "Lambda: Python code stored in the file"
    return None


def _called_function(entry: Mapping[str, Any]) -> str:
    config = entry.get("config")
    if not isinstance(config, Mapping):
        return "?"
    if "function" in config:
        return str(config["function"])
    # ClassMethod and its kin: a method or property of a TensorFlow class.
    owner = config.get("cls_symbol", entry.get("class_name"))
    return f"{owner}.{config.get('method_name', config.get('attr_name', '?'))}"


def _is_modelling_module(module: object, class_name: str) -> bool:
    if not isinstance(module, str):
        return False
    if module == "builtins":  # how Keras 3 writes its own functions, such as activations
        return class_name == "function"
    parts = module.removeprefix("tensorflow.python.").removeprefix("tensorflow.").split(".")
    if parts[0] not in ("keras", "tf_keras"):
        return False
    inside = [part for part in parts[1:] if part not in ("src", "api", "_tf_keras", "v2", "experimental")]
    if not inside:  # `keras.Model`, `keras.DTypePolicy`: classes; the functions at the top do other things
        return class_name != "function"
    return inside[0] in _MODELLING_MODULES
