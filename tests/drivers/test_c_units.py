"""The C driver on a fake accelerator, and its conversions of floats against the profiles."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from driver_networks import STRICT, compiled_digits, run_tool

from systolith.arithmetic import Codes, QuantizeArithmetic
from systolith.compiler.compile import CompiledModel
from systolith.drivers.host.tensors import quantize
from systolith.profiles.edges import QUANTIZE_FORMULAS, quantize_codes

HERE = Path(__file__).parent
FORMULAS = ("onnxruntime", "tflite_reference", "xnnpack", "torch")
"""As in `syst_formula`, from 1 on."""


@pytest.fixture(scope="module")
def folder(deploy: Callable[[CompiledModel], Path]) -> Path:
    return deploy(compiled_digits("on-chip"))


def sources(folder: Path) -> list[Path]:
    return sorted((folder / "c").glob("*.c"))


@pytest.mark.parametrize("standard", ["-std=c99", "-std=c11", "-std=c17"])
def test_units(cc: str, folder: Path, standard: str) -> None:
    program = folder / f"check{standard}"
    files = [*sources(folder), HERE / "check_driver.c"]
    built = run_tool(cc, standard, *STRICT, f"-I{folder / 'c'}", *files, "-o", program)
    assert built.returncode == 0, built.stderr
    ran = run_tool(program)
    assert ran.returncode == 0, ran.stderr
    assert int(ran.stdout) > 100


@pytest.mark.parametrize(
    "options", [["-xc++", "-std=c++11"], ["-std=c99", "-ffreestanding", "-Os"]]
)
def test_compiles_as(cc: str, folder: Path, options: list[str]) -> None:
    """Without a warning; and what the object files need beside each other is memcpy and memset."""
    objects = []
    for source in [*sources(folder), folder / "digits_int8_network.c"]:
        objects.append(folder / f"{source.stem}.o")
        include = [f"-I{folder / 'c'}", f"-I{folder}"]
        built = run_tool(cc, *options, *STRICT, *include, "-c", source, "-o", objects[-1])
        assert built.returncode == 0, built.stderr
    symbols = run_tool("nm", *objects)
    words = [line.split() for line in symbols.stdout.splitlines()]
    needed = {word[-1] for word in words if len(word) == 2 and word[0] == "U"}
    defined = {word[-1] for word in words if len(word) == 3}
    ours = {"memcpy", "memset", "__stack_chk_fail", "_GLOBAL_OFFSET_TABLE_"}
    assert needed - defined <= ours


def test_compiles_for_32_bits(cc: str, folder: Path) -> None:
    """Without a C library: `string.h` is the one header that is not the compiler's own."""
    (folder / "string.h").write_text(
        "#include <stddef.h>\nvoid *memcpy(void *, const void *, size_t);\n"
        "void *memset(void *, int, size_t);\n"
    )
    probe = folder / "probe.c"
    probe.write_text("typedef char word[sizeof(void *) == 4 ? 1 : -1];\n")
    options = ["-m32", "-std=c99", "-ffreestanding", "-Os", f"-I{folder}", f"-I{folder / 'c'}"]
    if run_tool(cc, *options, "-c", probe, "-o", folder / "probe.o").returncode:
        pytest.skip("the C compiler has no code for 32 bits")
    for source in [*sources(folder), folder / "digits_int8_network.c"]:
        built = run_tool(cc, *options, *STRICT, "-c", source, "-o", folder / "small.o")
        assert built.returncode == 0, built.stderr


def awkward_floats(codes: Codes) -> np.ndarray:
    """Ties and their neighbours, ends of ranges, infinities, NaN, and random numbers."""
    rng = np.random.default_rng(7)
    half = (np.arange(-300, 301) * 0.5).astype(np.float32) * np.float32(codes.scale)
    near = np.concatenate([half, np.nextafter(half, np.inf), np.nextafter(half, -np.inf)])
    ends = np.float32([0.0, -0.0, np.inf, -np.inf, np.nan, 3e38, -3e38, 1e-45, 2.0**31, -(2.0**31)])
    big = (rng.standard_normal(2000) * 10.0 ** rng.integers(-8, 12, 2000)).astype(np.float32)
    return np.concatenate([near, ends, ends * np.float32(codes.scale), big])


@pytest.mark.parametrize("formula", FORMULAS)
@pytest.mark.parametrize(
    "codes",
    [
        Codes(dtype="int8", scale=float(np.float32(0.0039215688)), zero_point=-128),
        Codes(dtype="uint8", scale=float(np.float32(0.37)), zero_point=3),
        Codes(dtype="int8", scale=0.25, zero_point=-5, limits=(-8, 7)),
    ],
    ids=["int8", "uint8", "int4"],
)
def test_both_drivers_quantize_as_the_runtimes(
    cc: str, folder: Path, formula: str, codes: Codes
) -> None:
    assert set(FORMULAS) <= set(QUANTIZE_FORMULAS)
    values = awkward_floats(codes)
    wanted = quantize_codes(values, QuantizeArithmetic(formula=formula, out=codes))
    place = {
        "name": "x", "dtype": codes.dtype, "scale": codes.scale, "zero_point": codes.zero_point,
        "limits": [codes.low, codes.high], "quantize": formula,
    }  # fmt: skip
    np.testing.assert_array_equal(quantize(place, values), wanted)
    program = folder / "quantize"
    if not program.exists():
        files = [*sources(folder), HERE / "quantize.c"]
        built = run_tool(cc, "-std=c99", "-O2", f"-I{folder / 'c'}", *files, "-o", program)
        assert built.returncode == 0, built.stderr
    values.tofile(folder / "values.bin")
    numbers = [1 + FORMULAS.index(formula), codes.low, codes.high, f"{codes.scale:.9e}"]
    command = [program, *numbers, codes.zero_point, folder / "values.bin"]
    ran = subprocess.run([str(word) for word in command], capture_output=True, check=True)
    found = np.frombuffer(ran.stdout, np.int16)
    assert found.size == values.size > 3000
    np.testing.assert_array_equal(found, wanted)
