"""The profiles, one table each: operator -> named formula and scale rule."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from systolith.errors import SpecError

__all__ = ["PROFILES", "Profile", "Row", "get_profile"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """Arithmetic of one operator.

    Parameters
    ----------
    formula: key of the operator's table of formulas (requantization, binary, softmax, ...).
    scale: key of `systolith.profiles.multipliers.SCALE_RULES`, or empty.
    """

    formula: str
    scale: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Profile:
    """What one runtime, in one version and with one set of kernels, computes.

    Parameters
    ----------
    name: what users write.
    runtime, version, kernels: whom the rows describe.
    container: kind of model file: tflite, onnx, torchscript or torch-export.
    rows: by operator; an absent operator is not supported.
    bound: greatest share of values, of a layer on given inputs, in which the runtime may differ by
        one code from the rows because it is not exactly reproducible itself; 0 where it is.
    input_high: greatest input code that is drawn at random: beyond it the runtime's own sums may
        saturate.
    """

    name: str
    runtime: str
    version: str
    kernels: str
    container: str
    rows: Mapping[str, Row]
    bound: float = 0.0
    input_high: int = 255


def _rows(**rows: tuple[str, ...]) -> Mapping[str, Row]:
    return MappingProxyType(
        {
            name: Row(formula=row[0], scale=row[1] if len(row) > 1 else "")
            for name, row in rows.items()
        }
    )


_MOVES: dict[str, tuple[str, ...]] = {
    "max_pool": ("max",),
    "reduce_max": ("max",),
    "pad": ("copy",),
    "concat": ("copy",),
    "reshape": ("copy",),
    "gather": ("copy",),
    "dequantize": ("dequantize",),
}

# What LiteRT has and TensorFlow Lite Micro has not.
_LITERT_UNARY: dict[str, tuple[str, ...]] = {
    "relu6": ("tflite_requantize",),
    "relu_n1_to_1": ("tflite_requantize",),
    "relu_0_to_1": ("tflite_requantize",),
    "gelu": ("tflite_gelu",),
    "gelu_tanh": ("tflite_gelu_tanh",),
    "exp": ("tflite_exp",),
    "log": ("tflite_log",),
    "sqrt": ("tflite_sqrt",),
    "neg": ("tflite_neg",),
}

_TFLITE_DOUBLE: dict[str, tuple[str, ...]] = {
    **_MOVES,
    "conv2d": ("double", "double_product"),
    "fully_connected": ("f64away", "double_product"),
    "conv2d_int4": ("double", "double_product"),
    "depthwise_int4": ("double", "double_product"),
    "fully_connected_int4": ("f64away", "double_product"),
    "avg_pool": ("divide",),
    "mean": ("double",),
    "add": ("tflite_add",),
    "sub": ("tflite_sub",),
    "mul": ("tflite_mul",),
    "softmax": ("tflite_reference",),
    "quantize": ("tflite_reference",),
    "requantize": ("tflite_requantize",),
    "requantize_signed": ("tflite_requantize",),
    "relu": ("tflite_requantize",),
    "logistic": ("tflite_logistic",),
    "tanh": ("tflite_tanh",),
    "leaky_relu": ("tflite_leaky_relu",),
    "prelu": ("double",),
    "hard_swish": ("tflite_hard_swish",),
    "rsqrt": ("tflite_rsqrt",),
    "abs": ("tflite_abs",),
    **_LITERT_UNARY,
}

# Fully connected layers with int4 weights are rejected by TensorFlow Lite Micro's kernels.
_TFLM: dict[str, tuple[str, ...]] = {
    **{
        key: row
        for key, row in _TFLITE_DOUBLE.items()
        if key not in _LITERT_UNARY and key != "fully_connected_int4"
    },
    "fully_connected": ("double", "single_product"),
    "mul": ("tflm_mul",),
    "relu6": ("tflm_relu6",),
    "elu": ("tflite_elu",),
}

_TFLITE_XNNPACK: dict[str, tuple[str, ...]] = {
    **_MOVES,
    "conv2d": ("float32", "single"),
    "fully_connected": ("float32", "single"),
    # XNNPACK does not take convolutions with int4 weights: these are LiteRT's optimized kernels,
    # and the depthwise one rounds the last channels in another way.
    "conv2d_int4": ("upward", "double_product"),
    "fully_connected_int4": ("float32", "single"),
    "avg_pool": ("divide",),
    "mean": ("xnn_mean",),
    "add": ("xnnpack_add",),
    "sub": ("xnnpack_sub",),
    "mul": ("xnnpack_mul",),
    "softmax": ("tflite_table",),
    "quantize": ("xnnpack",),
    "requantize": ("xnnpack_requantize",),
    "requantize_signed": ("tflite_upward_requantize",),
    "logistic": ("xnnpack_logistic",),
    "tanh": ("xnnpack_tanh",),
    # XNNPACK leaves these to LiteRT's own kernels.
    **{key: _TFLITE_DOUBLE[key] for key in ("relu", "prelu", "hard_swish", "rsqrt", "abs")},
    **_LITERT_UNARY,
    "leaky_relu": ("xnnpack_leaky_relu",),
    "elu": ("xnnpack_elu",),
}

_ONNXRUNTIME: dict[str, tuple[str, ...]] = {
    **_MOVES,
    "conv2d": ("float32", "single"),
    "fully_connected": ("float32", "single"),
    "avg_pool": ("ort_average",),
    "global_avg_pool": ("float32",),
    "mean": ("ort_mean",),
    "add": ("onnxruntime_add",),
    "mul": ("onnxruntime_mul",),
    "softmax": ("onnxruntime",),
    "quantize": ("onnxruntime",),
    "requantize": ("onnxruntime_requantize",),
    "logistic": ("onnxruntime_sigmoid",),
    "leaky_relu": ("onnxruntime_leaky_relu",),
    "block_sums": ("byte",),
}

_TORCH: dict[str, tuple[str, ...]] = {
    **{key: row for key, row in _MOVES.items() if key != "reduce_max"},
    "conv2d": ("torch_fbgemm", "single"),
    "fully_connected": ("torch_fbgemm", "single"),
    "avg_pool": ("float32",),
    "global_avg_pool": ("float32",),
    "add": ("torch_add",),
    "mul": ("torch_mul",),
    "quantize": ("torch",),
    "unary": ("table",),
}

_QNNPACK: dict[str, tuple[str, ...]] = {
    **_TORCH,
    "conv2d": ("float32", "single_inverse"),
    "fully_connected": ("float32", "single_inverse"),
    "add": ("qnnpack_add",),
}

_EXPORTED: dict[str, tuple[str, ...]] = {
    **_TORCH,
    "conv2d": ("torch_float",),
    "fully_connected": ("torch_float",),
    "avg_pool": ("torch_float",),
    "add": ("float_add",),
    "mul": ("float_mul",),
    "quantize": ("xnnpack",),
}

# Everything between two quantizers is one function of a sum: see `systolith.profiles.steps`.
_QONNX: dict[str, tuple[str, ...]] = {
    **{key: row for key, row in _MOVES.items() if key != "reduce_max"},
    "conv2d": ("thresholds",),
    "fully_connected": ("thresholds",),
    "avg_pool": ("thresholds",),
    "add": ("table",),
    "sub": ("table",),
    "mul": ("table",),
    "quantize": ("onnxruntime",),
}

_ALL = (
    Profile(
        name="tflite-reference",
        runtime="LiteRT",
        version="2.3.0",
        kernels="reference",
        container="tflite",
        rows=_rows(**_TFLITE_DOUBLE),
    ),
    Profile(
        name="tflite-xnnpack",
        runtime="LiteRT",
        version="2.3.0",
        kernels="XNNPACK",
        container="tflite",
        rows=_rows(**_TFLITE_XNNPACK),
    ),
    Profile(
        name="tflm",
        runtime="TensorFlow Lite Micro",
        version="0.dev20261023182759",
        kernels="reference",
        container="tflite",
        rows=_rows(**_TFLM),
    ),
    Profile(
        name="onnxruntime",
        runtime="onnxruntime",
        version="1.31.1",
        kernels="CPU, x86-64 with FMA",
        container="onnx",
        rows=_rows(**_ONNXRUNTIME),
    ),
    Profile(
        name="torch-x86",
        runtime="PyTorch",
        version="2.13.0",
        kernels="quantized, FBGEMM (engine x86)",
        container="torchscript",
        rows=_rows(**_TORCH),
        bound=1e-5,
        # Without VNNI its kernels add two products in saturating 16 bits (hence reduce_range).
        input_high=127,
    ),
    Profile(
        name="torch-qnnpack",
        runtime="PyTorch",
        version="2.13.0",
        kernels="quantized, QNNPACK",
        container="torchscript",
        rows=_rows(**_QNNPACK),
    ),
    Profile(
        name="torch-export",
        runtime="PyTorch",
        version="2.13.0",
        kernels="float32 between dequantize and quantize, CPU",
        container="torch-export",
        rows=_rows(**_EXPORTED),
        bound=1e-5,
    ),
    Profile(
        name="qonnx",
        runtime="qonnx",
        version="1.0.0",
        kernels="numpy and onnxruntime 1.31.1",
        container="onnx",
        rows=_rows(**_QONNX),
    ),
)

PROFILES: Mapping[str, Profile] = MappingProxyType({profile.name: profile for profile in _ALL})
"""Every profile by name."""


def get_profile(name: str) -> Profile:
    """Return the profile of that name.

    Raises
    ------
    SpecError: there is none.
    """
    if name not in PROFILES:
        raise SpecError(f"profile must be one of {', '.join(PROFILES)}, not {name!r}")
    return PROFILES[name]
