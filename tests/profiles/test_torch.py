"""The formulas of the torch profiles against PyTorch's own kernels, at ties and beside them."""

import importlib

import numpy as np
import pytest

from systolith.arithmetic import BinaryArithmetic, Codes, QuantizeArithmetic
from systolith.importers.torch_context import Filters, TorchContext
from systolith.importers.torch_program import TorchProgram
from systolith.profiles.binary import binary_table, fma32
from systolith.profiles.edges import quantize_codes
from systolith.profiles.formulas import requantize_codes
from systolith.profiles.table import get_profile

torch = pytest.importorskip("torch", reason="PyTorch is not installed (EXTRAS=torch)")

SEED = 11
_F = np.float32
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(params=["fbgemm", "qnnpack"])
def engine(request: pytest.FixtureRequest):
    kept = torch.backends.quantized.engine
    torch.backends.quantized.engine = request.param
    yield request.param
    torch.backends.quantized.engine = kept


def tensor(codes: np.ndarray, scale: float, zero: int) -> "torch.Tensor":
    return torch._make_per_tensor_quantized_tensor(torch.from_numpy(codes), float(scale), zero)


def pairs_of_scales(rng: np.random.Generator, count: int):
    for index in range(count):
        a, b = (_F(v) for v in rng.uniform(0.005, 0.05, 2))
        out = _F((a + b) * rng.uniform(0.4, 1.2))
        if index % 3 == 0:
            a = b = out = _F(
                2.0 ** -int(rng.integers(3, 8))
            )  # every sum of two is on a tie or even
        zeros = [int(z) for z in rng.integers(0, 256, 3)]
        scales = (float(a), float(b), float(out))
        yield [
            Codes(dtype="uint8", scale=s, zero_point=z) for s, z in zip(scales, zeros, strict=True)
        ]


@pytest.mark.parametrize("op", ["add", "mul"])
def test_sums_and_products_of_all_pairs(engine, op) -> None:
    rng = np.random.default_rng(SEED)
    formula = "qnnpack_add" if (engine, op) == ("qnnpack", "add") else f"torch_{op}"
    x, y = np.meshgrid(*[np.arange(256, dtype=np.uint8)] * 2, indexing="ij")
    compared = 0
    for a, b, out in pairs_of_scales(rng, 9):
        for relu in (False, True):
            low = out.zero_point if relu else 0
            k = BinaryArithmetic(formula=formula, a=a, b=b, out=out, low=low, high=255)
            kernel = getattr(torch.ops.quantized, f"{op}_relu" if relu else op)
            operands = (tensor(x, a.scale, a.zero_point), tensor(y, b.scale, b.zero_point))
            theirs = kernel(*operands, out.scale, out.zero_point).int_repr().numpy()
            np.testing.assert_array_equal(theirs, binary_table(k))
            compared += theirs.size
    assert compared == 9 * 2 * 65536


@pytest.mark.parametrize("per_channel", [False, True])
def test_requantization_beside_every_step(engine, per_channel) -> None:
    """Every channel has the same sum of products and a bias of its own."""
    rng, channels, compared = np.random.default_rng(SEED), 2048, 0
    for _ in range(12):
        sx = _F(rng.uniform(0.001, 0.05))
        sw = rng.uniform(0.001, 0.05, channels if per_channel else 1).astype(_F)
        product = np.broadcast_to(sx * sw, (channels,))
        out, zero = _F(product.mean() * rng.uniform(200, 20000)), int(rng.integers(0, 256))
        wanted = adversarial(rng, product / out, channels)
        # FBGEMM adds the float: fractions of a unit count, too.
        part = rng.uniform(-0.5, 0.5, channels) if engine == "fbgemm" else 0.0
        bias = ((wanted - ACC + part) * product.astype(np.float64)).astype(_F)
        packed = torch.ops.quantized.linear_prepack(weights(sw, channels), torch.from_numpy(bias))
        source = tensor(np.full((1, 4), 9, np.uint8), sx, 3)
        theirs = torch.ops.quantized.linear(source, packed, float(out), zero).int_repr().numpy()
        ours = codes(engine, Filters(np.zeros((channels, 4)), sw, bias), sx, out, zero)
        np.testing.assert_array_equal(theirs.reshape(-1), ours.reshape(-1))
        compared += ours.size
    assert compared == 12 * channels


def adversarial(rng: np.random.Generator, factor: np.ndarray, count: int) -> np.ndarray:
    """Accumulators on both sides of a step of ``factor * acc``."""
    steps = (rng.integers(-300, 300, count) + 0.5) / factor.astype(np.float64)
    return np.rint(steps).astype(np.int64) + rng.integers(-1, 2, count)


ACC = 4 * (9 - 3) * 50
"""Sum of the products: four inputs of code 9, zero point 3, weights of 50."""


def weights(scales: np.ndarray, channels: int) -> "torch.Tensor":
    codes = np.full((channels, 4), 50, np.int8)
    if scales.size == 1:
        return tensor(codes, scales[0], 0)
    return torch._make_per_channel_quantized_tensor(
        torch.from_numpy(codes),
        torch.from_numpy(scales.astype(np.float64)),
        torch.zeros(channels, dtype=torch.int64),
        0,
    )


def codes(engine: str, filters: Filters, sx, out, zero: int) -> np.ndarray:
    """Return what the importer's layer makes of the accumulator."""
    name = "torch-x86" if engine == "fbgemm" else "torch-qnnpack"
    context = TorchContext(TorchProgram([], {}, []), get_profile(name))
    source = Codes(dtype="uint8", scale=float(sx), zero_point=3)
    target = Codes(dtype="uint8", scale=float(out), zero_point=zero)
    requant = context.requant("fully_connected", source, filters, target)
    return requantize_codes(ACC + context.bias(source, filters).astype(np.int64), requant)


@pytest.mark.parametrize("kind", ["eager", "decomposed"])
def test_quantize_at_ties(kind) -> None:
    rng, compared = np.random.default_rng(SEED), 0
    for _ in range(6):
        scale, zero = _F(rng.uniform(0.001, 0.2)), int(rng.integers(0, 256))
        near = ((np.arange(-300, 301) + 0.5) * scale).astype(_F)
        x = np.concatenate([near, np.nextafter(near, _F(9e9)), np.nextafter(near, _F(-9e9)),
                            rng.normal(0, 200 * scale, 4096).astype(_F)])  # fmt: skip
        given = torch.from_numpy(x.astype(_F))
        if kind == "eager":
            theirs = torch.quantize_per_tensor(given, float(scale), zero, torch.quint8).int_repr()
        else:
            importlib.import_module("torch.ao.quantization.fx._decomposed")
            quantize = torch.ops.quantized_decomposed.quantize_per_tensor
            theirs = quantize(given, float(scale), zero, 0, 255, torch.uint8)
        out = Codes(dtype="uint8", scale=float(scale), zero_point=zero)
        formula = "torch" if kind == "eager" else "xnnpack"
        ours = quantize_codes(x, QuantizeArithmetic(formula=formula, out=out))
        np.testing.assert_array_equal(theirs.numpy(), ours)
        compared += len(x)
    assert compared > 30_000


def test_fma_is_one_rounding() -> None:
    assert fma32(_F(1 + 2**-23), _F(1 - 2**-23), _F(-1)) == _F(-(2.0**-46))
