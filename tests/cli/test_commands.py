"""The other commands: what they print and write."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import systolith
from systolith.cli import app
from systolith.cli.guard import BUG, INTERRUPTED
from systolith.sim import toolchain
from systolith.spec.commands import Opcode, decode
from systolith.spec.configuration import PRESETS, spec_from_toml
from systolith.spec.program import Program
from systolith.verify.samples import default_model, default_samples


def test_version(cli: Any) -> None:
    assert cli("--version").out == f"systolith {systolith.__version__}\n"


def test_no_arguments_show_the_commands(cli: Any) -> None:
    result = cli()
    assert result.status == 0
    for command in app.registered_commands:
        assert command.callback is not None
        assert (command.name or command.callback.__name__) in result.out


def test_inspect(cli: Any) -> None:
    result = cli("inspect", default_model())
    assert result.status == 0
    row = next(line for line in result.out.splitlines() if line.split()[:1] == ["conv2_quant"])
    # 24 x 16 x 9 weights and 24 biases; 16 * 9 * 127 * 255 + bias needs 24 bits at most.
    assert row.split()[1:6] == ["conv2d", "8x8x16", "4x4x24", "55,296", "3,480"]
    assert 16 <= int(row.split()[6]) <= 24 and row.split()[7] == "array"
    assert max(map(len, result.out.splitlines())) <= 100


def test_inspect_says_what_does_not_fit(cli: Any, inside: Path) -> None:
    Path("s.toml").write_text("[memory]\nweight_bytes = 256\n")
    result = cli("inspect", default_model(), "--spec", "s.toml")
    assert result.status == 0
    assert "cannot run on 16x16: " in result.out and "weight_bytes" in result.out


def test_compile(cli: Any, inside: Path) -> None:
    result = cli("compile", default_model(), "--preset", "small", "-o", "program.bin")
    assert result.status == 0
    program = Program.from_bytes(Path("program.bin").read_bytes())
    assert program.spec == PRESETS["small"]
    assert "note: quantize 'image_QuantizeLinear' runs on the host" in result.out
    assert "commands" in result.out and "0x0" in result.out


def test_weights_and_precision_of_layers(cli: Any, inside: Path) -> None:
    """What is asked for by layer and of all others is what commands have."""
    Path("s.toml").write_text(
        '[array]\nrows = 8\ncolumns = 8\nprecisions = ["w8a8", "w4a8"]\n'
        'weight_formats = ["dense", "bitmap", "codebook"]\n'
    )
    options = ["--weights", "bitmap", "--weights", "conv2_quant=dense", "--precision", "w8a8"]
    result = cli("compile", default_model(), "--spec", "s.toml", "-o", "program.bin", *options)
    assert result.status == 0, result.err
    program = Program.from_bytes(Path("program.bin").read_bytes())
    matmuls = [c for c in decode(program.commands.tolist()) if c.opcode is Opcode.MATMUL]
    assert {c["precision"] for c in matmuls} == {0} and {c["w_format"] for c in matmuls} <= {0, 4}
    result = cli(
        "verify", default_model(), "--spec", "s.toml", "--backend", "golden", "--count", "1",
        "--weights", "conv2_quant=bitmap",
    )  # fmt: skip
    assert result.status == 0, result.err
    assert "bitmap" in result.out


def test_simulate_saves_what_the_runtime_computes(cli: Any, inside: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    from systolith.importers import load_model

    result = cli("simulate", "--backend", "golden", "--count", "3", "-o", "out.npz")
    assert result.status == 0 and "input 2: logits = " in result.out
    images = default_samples(load_model(default_model())).limited(3).inputs["image"]
    session = onnxruntime.InferenceSession(default_model(), providers=["CPUExecutionProvider"])
    expected = np.concatenate([session.run(None, {"image": one[None]})[0] for one in images])
    with np.load("out.npz") as data:
        np.testing.assert_array_equal(data["logits"], expected)


def test_run_as_on_a_board(cli: Any, inside: Path) -> None:
    """The same outputs as `simulate`; the board's specification, and what it cannot have."""
    arguments = ("--backend", "golden", "--count", "2", "-q")
    boards = cli("run", "--board", "ulx3s_85f", *arguments, "-o", "board.npz")
    assert boards.status == 0, boards.err
    assert "class 9 (label 9)" in boards.out
    assert cli("simulate", *arguments, "-o", "alone.npz").status == 0
    with np.load("board.npz") as found, np.load("alone.npz") as wanted:
        np.testing.assert_array_equal(found["logits"], wanted["logits"])
    for options, text in (
        (("--board", "icebraker"), "did you mean icebreaker?"),
        (("--board", "ulx3s_85f", "--preset", "stream"), "external.data_bytes must be 0"),
        (("--frequency", "20"), "--frequency can be given with --board only"),
        (("--backend", "uart:"), "backend must be uart:PORT or uart:PORT@BAUD, not 'uart:'"),
        (("--backend", "uart:/dev/none", "--preset", "tiny"), "cannot open serial port /dev/none"),
        (("--backend", "uart-sim@fast"), "the rate behind @ must be 300 baud or more, not 'fast'"),
        (("--backend", "uart:/dev/none@0"), "the rate behind @ must be 300 baud or more, not '0'"),
        (
            ("--backend", "uart-sim", "--board", "kv260"),
            "kv260: a board must have a UART to be run",
        ),
    ):
        result = cli("run", *options)
        assert result.status >= 2 and text in result.err and result.err.count("\n") == 1, options


def test_simulate_prints_cycles_and_writes_waveforms(cli: Any, inside: Path) -> None:
    result = cli("simulate", "--preset", "tiny", "--trace", "wave.vcd")
    assert result.status == 0, result.err
    assert "cycles " in result.out and "stall_tokens" in result.out
    with Path("wave.vcd").open("rb") as file:
        assert b"$scope module" in file.read(1 << 16)


def test_fst_needs_its_libraries(cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toolchain, "has_header", lambda compiler, header: header != "lz4.h")
    result = cli("simulate", "--trace", "wave.fst")
    assert result.status == 2 and result.err.count("\n") == 1
    assert "`apt-get install liblz4-dev`, or give a .vcd file" in result.err


def test_generate(cli: Any, inside: Path) -> None:
    result = cli("generate", "--preset", "tiny", "-o", "gen", "--model", default_model())
    assert result.status == 0, result.err
    assert "lint: clean" in result.out
    assert {path.name for path in Path("gen").iterdir()} == {
        "systolith.sv",
        "systolith.sdc",
        "spec.toml",
        "registers.md",
        "systolith_registers.h",
        "commands.md",
        "lint_waivers.vlt",
        "program.bin",
        "drivers",
        "network",
    }
    assert {path.name for path in Path("gen/drivers/c").iterdir()} == {
        "systolith.h",
        "systolith.c",
        "systolith_map.h",
        "systolith_quantize.c",
    }
    assert {path.name for path in Path("gen/network").iterdir()} == {
        "network.json",
        "commands.bin",
        "weights.bin",
        "parameters.bin",
        "digits_int8_network.h",
        "digits_int8_network.c",
    }
    assert spec_from_toml(Path("gen/spec.toml").read_text()) == PRESETS["tiny"]
    text = Path("gen/systolith.sv").read_text()
    assert "module systolith" in text and "input wire s_axi_awvalid" in text
    assert Program.from_bytes(Path("gen/program.bin").read_bytes()).spec == PRESETS["tiny"]


def test_compile_deploys(cli: Any, inside: Path) -> None:
    """For drivers: what `generate` writes; softmax, and what else they do not compute, is named."""
    from systolith.drivers.host import Network

    result = cli("compile", default_model(), "--preset", "tiny", "--deploy", "net")
    assert result.status == 0, result.err
    assert "wrote 6 files for drivers to net" in result.out and "to their caller" not in result.out
    network = Network.load("net")
    assert network.inputs["image_quantized"]["quantize"] == "onnxruntime"
    assert [step["native"] for step in network.manifest["host_steps"]] == [True, True]


def test_generate_a_unit(cli: Any, inside: Path) -> None:
    options = ("--unit", "quantize", "--format", "int4", "--lanes", "2", "--channels", "4")
    result = cli("generate", *options, "-o", "gen")
    assert result.status == 0, result.err
    assert "lint: clean" in result.out
    assert {path.name for path in Path("gen").iterdir()} == {"quantize.sv", "lint_waivers.vlt"}
    text = Path("gen/quantize.sv").read_text()
    assert "module quantize (" in text and "input wire [63:0] s_axis_tdata" in text


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("--unit", "divide"), "--unit must be one of quantize, dequantize, dynamic_quantize,"),
        (("--unit", "quantize", "--format", "int5"), "--format must be one of int8, uint8, int4,"),
        (("--unit", "quantize", "--form", "up"), "--form must be one of divide_even, divide_away"),
        (("--unit", "quantize", "--lanes", "0"), "lanes must be between 1 and 64, not 0"),
        (("--unit", "quantize", "--preset", "tiny"), "--unit cannot be given with --array,"),
    ],
)
def test_units_that_do_not_exist(
    cli: Any, inside: Path, options: tuple[str, ...], text: str
) -> None:
    result = cli("generate", *options)
    assert result.status == 2 and result.err.count("\n") == 1
    assert text in result.err


def test_doctor(cli: Any) -> None:
    result = cli("doctor")
    assert result.status == 0
    for tool in ("python", "verilator", "amaranth", "C++ compiler", "onnxruntime"):
        assert tool in result.out
    assert max(map(len, result.out.splitlines())) <= 100


def test_doctor_names_what_is_missing(cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    result = cli("doctor")
    assert result.status == 1
    assert "needed and missing: C++ compiler" in result.out
    assert "apt-get" in result.out and "g++" in result.out


def test_interrupt(cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(toolchain, "doctor_report", stop)
    result = cli("doctor")
    assert result.status == INTERRUPTED and result.out == ""
    assert result.err.count("\n") <= 1 and "Traceback" not in result.err


def test_a_bug_is_one_line(cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise KeyError("inner\nlines")

    monkeypatch.setattr(toolchain, "doctor_report", fail)
    result = cli("doctor")
    assert result.status == BUG
    assert result.err.startswith("error: unexpected KeyError: ") and result.err.count("\n") == 1
    assert "please report" in result.err
    shown = cli("doctor", "--debug")
    assert shown.status == BUG and "Traceback" in shown.err


def test_module_runs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    import runpy

    monkeypatch.setattr(sys, "argv", ["systolith", "--version"])
    with pytest.raises(SystemExit) as stop:
        runpy.run_module("systolith", run_name="__main__")
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"systolith {systolith.__version__}\n"


def test_fit_writes_a_specification_that_verifies(cli: Any, inside: Path) -> None:
    result = cli("fit", default_model(), "--array", "8x8", "-o", "s.toml", "--json", "f.json")
    assert result.status == 0, result.err
    assert "smallest exact requantizer: modes = [" in result.out
    assert max(map(len, result.out.splitlines())) <= 100
    spec = spec_from_toml(Path("s.toml").read_text())
    report = json.loads(Path("f.json").read_text())
    assert report["schema"] == "systolith/fit/1"
    assert report["post"]["multiplier_bits"] == spec.post.multiplier_bits
    assert all(layer["proof"] for layer in report["layers"])
    checked = cli("verify", "--spec", "s.toml", "--backend", "golden", "--json", "-")
    assert checked.status == 0, checked.err
    verified = json.loads(checked.out)
    assert verified["ok"] and verified["mismatches"] == 0
    layers = [layer for layer in verified["layers"] if layer["proofs"]]
    assert len(layers) == verified["proven"]["layers"] + verified["proven"]["direct"]
    assert verified["proven"]["bits"] <= spec.post.multiplier_bits


def test_fit_to_stdout_is_a_specification_alone(cli: Any) -> None:
    result = cli("fit", default_model(), "-o", "-")
    assert result.status == 0
    spec_from_toml(result.out)
    both = cli("fit", default_model(), "-o", "-", "--json", "-")
    assert both.status != 0 and "only one of --json and --output can go to stdout" in both.err
