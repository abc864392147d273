"""TFLite files to graphs: the table of operators."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from systolith.graph import Graph, Op
from systolith.importers import tflite_layers as layers
from systolith.importers import tflite_moves as moves
from systolith.importers import tflite_pointwise as pointwise
from systolith.importers import tflite_reduce as reduce
from systolith.importers.damage import damage_as_model_error, damage_of_layer
from systolith.importers.tflite_context import TfliteContext
from systolith.importers.tflite_prelu import prelu
from systolith.importers.tflite_reader import RawModel, read_tflite
from systolith.profiles.table import Profile

__all__ = ["TFLITE_OPERATORS", "import_tflite"]

TFLITE_OPERATORS: Mapping[str, Callable[[TfliteContext], None]] = MappingProxyType(
    {
        "CONV_2D": layers.conv,
        "DEPTHWISE_CONV_2D": layers.depthwise,
        "FULLY_CONNECTED": layers.fully_connected,
        "AVERAGE_POOL_2D": layers.average_pool,
        "MAX_POOL_2D": layers.max_pool,
        "MEAN": reduce.mean,
        "REDUCE_MAX": reduce.extremum(least=False),
        "REDUCE_MIN": reduce.extremum(least=True),
        "ADD": pointwise.binary(Op.ADD, "AddOptions"),
        "SUB": pointwise.binary(Op.SUB, "SubOptions"),
        "MUL": pointwise.binary(Op.MUL, "MulOptions"),
        **{name.upper(): pointwise.lut(name) for name in pointwise.PLAIN_TABLES},
        "GELU": pointwise.gelu,
        "PRELU": prelu,
        "LEAKY_RELU": pointwise.leaky_relu,
        "RELU": pointwise.relu("relu"),
        "RELU6": pointwise.relu("relu6"),
        "RELU_N1_TO_1": pointwise.relu("relu_n1_to_1"),
        "RELU_0_TO_1": pointwise.relu("relu_0_to_1"),
        "SOFTMAX": pointwise.softmax,
        "QUANTIZE": pointwise.quantize,
        "DEQUANTIZE": pointwise.dequantize,
        "RESHAPE": pointwise.reshape,
        "SQUEEZE": pointwise.reshape,
        "EXPAND_DIMS": pointwise.reshape,
        "PAD": pointwise.pad,
        "PADV2": pointwise.pad,
        "CONCATENATION": pointwise.concatenation,
        "PACK": moves.pack,
        **dict.fromkeys(moves.MOVES, moves.move),
    }
)
"""Handler of every supported operator."""


def import_tflite(data: bytes, profile: Profile, *, name: str, path: str = "") -> Graph:
    """Return the graph of a TFLite file under a profile.

    Parameters
    ----------
    data: the file's bytes.
    profile: one whose container is tflite.
    name, path: of the model.

    Raises
    ------
    ModelError: the file is damaged or has what cannot be imported; the layer is named.
    """
    model = read_tflite(data)
    with damage_as_model_error("TFLite"):
        return _import(model, data, profile, name, path)


def _import(model: RawModel, data: bytes, profile: Profile, name: str, path: str) -> Graph:
    ctx = TfliteContext(model, profile)
    for operator in model.operators:
        ctx.enter(operator)
        handler = TFLITE_OPERATORS.get(operator.kind)
        if handler is None:
            ctx.unsupported()
        with damage_of_layer(ctx.layer, operator.kind):
            handler(ctx)
    inputs = [ctx.tensor(index).name for index in model.inputs]
    outputs = [ctx.tensor(index).name for index in model.outputs]
    return ctx.graph(name=name, inputs=inputs, outputs=outputs, source_path=path, model_bytes=data)
