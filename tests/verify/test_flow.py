"""Verification of real networks, and of what each runtime gives."""

from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from systolith.compiler.compile import compile_graph
from systolith.errors import CompileError, SystolithError
from systolith.report.machine import report_junit
from systolith.spec.configuration import PRESETS, preset_for_array
from systolith.verify import VerifyReport, flow, verify_model

VALUES = 114_836
"""Elements of all of ResNet-8's tensors that an operator of the TFLite file writes."""


def against(report: VerifyReport) -> set[str]:
    """Everything that layers were compared with."""
    return {layer.against for layer in report.layers}


def test_resnet8_every_tensor_live_and_stored(models: Path) -> None:
    report = verify_model(
        models / "tflite" / "resnet8.tflite", PRESETS["base"], backend="golden", count=2
    )
    assert report.ok and report.first is None
    assert report.compared == 2 * 2 * VALUES
    assert against(report) == {"runtime + stored"}
    assert not [layer.name for layer in report.layers if layer.where == "host"]
    assert [layer.tensor for layer in report.layers if layer.hidden] == ["t24", "t28", "t32"]
    assert report.labels == report.predictions == (0, 1)


@pytest.mark.parametrize(
    ("runtime", "last"), [("tflite-xnnpack", "runtime + stored"), ("tflm", "runtime")]
)
def test_runtimes_that_give_outputs_only(models: Path, runtime: str, last: str) -> None:
    report = verify_model(
        models / "tflite" / "resnet8.tflite",
        PRESETS["base"],
        backend="golden",
        against=runtime,
        count=1,
    )
    assert report.ok
    assert report.layers[-1].against == last
    assert {layer.against for layer in report.layers[:-1]} == {"formulas"}
    assert any("15 tensors that the runtime does not give" in text for text in report.remarks)


@pytest.mark.parametrize("name", ["ic_resnet8_qop_s8s8_pt", "ic_resnet8_qop_u8s8_pc"])
def test_onnx_every_tensor(models: Path, name: str) -> None:
    report = verify_model(
        models / "onnx" / f"{name}.onnx", PRESETS["base"], backend="golden", count=1
    )
    assert report.ok
    assert against(report) == {"runtime + stored"}
    assert report.samples == 1 and report.reference_from == f"{name}.npz"


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(4, 4), (8, 8), (16, 16), (8, 16), (13, 5), (32, 32)])
def test_arrays_in_verilator(shape: tuple[int, int]) -> None:
    report = verify_model(None, preset_for_array(*shape))
    assert report.ok and report.samples == 10
    assert report.cycles and report.macs <= report.cycles * shape[0] * shape[1]


def two_layers(writer: ModuleType) -> bytes:
    """Two fully connected layers of which the runtime tells the tensor between."""
    T, O = writer.T, writer.O  # noqa: E741 - the writer's own names
    rng = np.random.default_rng(3)
    weights = [rng.integers(-128, 128, shape).astype(np.int8) for shape in ((6, 8), (3, 6))]
    tensors = [
        T((1, 8), scale=0.1, zero=4),
        T((6, 8), scale=0.01, data=weights[0]),
        T((1, 6), scale=0.2, zero=-3),
        T((3, 6), scale=0.01, data=weights[1]),
        T((1, 3), scale=0.3, zero=9),
    ]
    operators = [
        O("FULLY_CONNECTED", (0, 1, -1), (2,), "FullyConnectedOptions"),
        O("FULLY_CONNECTED", (2, 3, -1), (4,), "FullyConnectedOptions"),
    ]
    return bytes(writer.write_tflite(tensors, operators, (0,), (4,)))


@pytest.fixture
def small(tmp_path: Path, writer: ModuleType) -> Path:
    """A model file without anything beside it."""
    path = tmp_path / "small.tflite"
    path.write_bytes(two_layers(writer))
    return path


def test_random_inputs_without_files(small: Path) -> None:
    first, second = (
        verify_model(small, PRESETS["tiny"], backend="golden", count=5) for _ in range(2)
    )
    assert first.ok and first.samples == 5 and first.compared == 5 * (6 + 3)
    assert first.inputs_from == "random over the whole range, seed 1"
    assert not first.labels and not first.reference_from
    assert first.layers == second.layers


def test_inputs_beside_the_model(small: Path) -> None:
    np.savez(small.with_suffix(".npz"), inputs=np.zeros((3, 8), np.int8))
    report = verify_model(small, PRESETS["tiny"], backend="golden")
    assert report.ok and report.samples == 3
    assert report.inputs_from == "small.npz beside the model" and not report.reference_from


def test_stored_tensors_of_other_kernels_are_left_out(small: Path) -> None:
    # A file with `ref_out` has its t<index> from LiteRT's reference kernels.
    stored = {
        "inputs": np.zeros((1, 8), np.int8),
        "ref_out": np.zeros((1, 3), np.int8),
        "t2": np.zeros((1, 6), np.int8),
    }
    np.savez(small.with_suffix(".npz"), **stored)
    report = verify_model(small, PRESETS["tiny"], backend="golden", against="tflite-xnnpack")
    assert report.ok and not report.reference_from
    wrong = verify_model(small, PRESETS["tiny"], backend="golden")
    assert not wrong.ok and wrong.first is not None
    assert wrong.first.against == "stored" and wrong.first.tensor == "t2"


def test_progress_is_told(small: Path) -> None:
    told: list[tuple[str, int, int]] = []
    verify_model(
        small,
        PRESETS["tiny"],
        backend="golden",
        count=2,
        progress=lambda *words: told.append(words),
    )
    assert told[0][0] == "compiling" and told[-1] == ("done", 2, 2)
    assert "input 2 of 2, layer 2 of 2" in [text for text, _, _ in told]


class Broken:
    """A backend that gives outputs but no other tensor."""

    name = "broken"

    def run(self, program: Any, inputs: Any, *, capture: Any = (), progress: Any = None) -> Any:
        from systolith.sim.backends import get_backend

        return get_backend("golden").run(program, inputs)


def test_uncompared_layers_are_no_success(small: Path) -> None:
    report = verify_model(small, PRESETS["tiny"], backend=Broken(), count=1)
    assert not report.mismatches and not report.ok
    assert [layer.compared for layer in report.layers] == [0, 3]


def test_programs_longer_than_the_command_memory() -> None:
    """What a report says of the layers comes from all parts of the program."""
    stream = PRESETS["stream"]
    short = replace(stream, memory=replace(stream.memory, command_words=160))
    reports = [verify_model(None, spec, backend="golden", count=1) for spec in (stream, short)]
    assert all(report.ok for report in reports)
    modes = [[layer.mode for layer in report.layers] for report in reports]
    assert modes[0] == modes[1] and any(modes[0])


def test_no_memory_for_the_program_without_fusion(monkeypatch: pytest.MonkeyPatch) -> None:
    def fused_only(*args: Any, fuse: bool = True, **more: Any) -> Any:
        if not fuse:
            raise CompileError("memory.activation_bytes must be larger")
        return compile_graph(*args, **more)

    monkeypatch.setattr(flow, "compile_graph", fused_only)
    report = verify_model(None, PRESETS["tiny"], backend="golden", count=1)
    (hidden,) = [layer for layer in report.layers if layer.hidden]
    assert report.ok and hidden.compared == 0
    assert any("hidden by fusion and not compared: c4_quantized" in text for text in report.remarks)
    assert 'skipped="1"' in report_junit(report)


def test_errors_are_one_line(small: Path) -> None:
    with pytest.raises(SystolithError, match=r"^count must be at least 1, not 0$"):
        verify_model(small, PRESETS["tiny"], backend="golden", count=0)


def test_labels_that_are_no_classes_are_left_out(models: Path) -> None:
    """The autoencoder's output is its input again; its labels say whether a machine is broken."""
    for name in ("autoencoder", "hello_world"):
        path = models / "tflite" / f"{name}.tflite"
        report = verify_model(path, PRESETS["base"], backend="golden", count=2)
        assert report.ok and report.labels == report.predictions == ()
        assert report.accuracy is None
