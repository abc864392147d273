"""PyTorch files: every layer of ours equals PyTorch's, and what is wrong is said in one line."""

import sys
import zipfile

import numpy as np
import pytest

from systolith.errors import ModelError, SpecError, ToolError
from systolith.importers import load_model
from systolith.importers.load import model_kind
from systolith.profiles.reference import evaluate_graph
from systolith.runtimes import run_runtime
from systolith.spec.configuration import preset_for_array
from systolith.verify import verify_model

torch = pytest.importorskip("torch", reason="PyTorch is not installed (EXTRAS=torch)")

ENGINES = {"torch-x86": "x86", "torch-qnnpack": "qnnpack"}


@pytest.fixture(scope="module", params=[*ENGINES, "torch-export"])
def profile(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def path(profile, torch_nets, tmp_path_factory):
    folder = tmp_path_factory.mktemp(profile)
    if profile == "torch-export":
        return torch_nets.save_exported(folder / "net.pt2")
    module = torch_nets.quantized(ENGINES[profile])
    return torch_nets.save_traced(module, folder / "net.pt")


def test_every_layer_equals_pytorch(profile, path) -> None:
    graph = load_model(path, profile)
    name = graph.inputs[0]
    # As calibrated: beyond 1.0 FBGEMM itself saturates on processors without VNNI.
    images = np.random.default_rng(1).uniform(-0.1, 1.0, (8, 1, 8, 8)).astype(np.float32)
    live = run_runtime(graph, images)
    compared = wrong = 0
    for index, image in enumerate(images):
        ours = evaluate_graph(graph, {name: graph.tensors[name].canonical(image)})
        for tensor in (graph.tensors[n] for node in graph for n in node.outputs):
            if tensor.name in live:
                theirs = tensor.canonical(live[tensor.name][index : index + 1])
                compared += theirs.size
                wrong += int((theirs != ours[tensor.name]).sum())
    assert compared > 10_000
    # Exported programs add float32 products in an order of their own: ties may fall either way.
    assert wrong <= (compared * 1e-4 if profile == "torch-export" else 0)


def test_verification_on_golden(profile, path) -> None:
    spec = preset_for_array(4, 4)
    report = verify_model(path, spec, against=profile, backend="golden", count=2)
    assert report.ok and report.mismatches <= report.allowed and report.compared > 3000
    assert all(layer.compared for layer in report.layers)
    assert (report.bound == 0) == (profile == "torch-qnnpack")
    assert any("not exactly reproducible" in r for r in report.remarks) == bool(report.bound)


def test_the_file_names_its_profiles(path, profile) -> None:
    kind = "torch-export" if profile == "torch-export" else "torchscript"
    assert model_kind(path.read_bytes()) == kind
    with pytest.raises(SpecError, match="^profile must be one for"):
        load_model(path, "onnxruntime")


def test_without_pytorch(path, profile, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ToolError, match=r"install it with: pip install systolith\[torch\]$"):
        load_model(path, profile)


def test_shape_comes_from_samples_beside_the_model(torch_nets, tmp_path) -> None:
    module = torch_nets.quantized("qnnpack")
    path = torch_nets.save_traced(module, tmp_path / "bare.pt", shape="")
    with pytest.raises(ModelError, match="does not state the shape of its input"):
        load_model(path, "torch-qnnpack")
    np.savez(path.with_suffix(".npz"), inputs=np.zeros((3, 1, 8, 8), np.float32))
    graph = load_model(path, "torch-qnnpack")
    assert graph.tensors[graph.inputs[0]].source_shape == (1, 1, 8, 8)


def test_bad_files(torch_nets, tmp_path) -> None:
    path = tmp_path / "bad.pt"
    torch.save({"weight": torch.zeros(3)}, path)
    with pytest.raises(ModelError, match="save it with torch.jit.save or torch.export.save"):
        load_model(path)
    good = torch_nets.save_traced(torch_nets.quantized("x86"), tmp_path / "good.pt")
    path.write_bytes(good.read_bytes()[:-300])
    with pytest.raises(ModelError, match="damaged or truncated archive"):
        load_model(path)
    torch_nets.save_traced(torch_nets.quantized("x86"), path, shape="1,1,x")
    with pytest.raises(ModelError, match="input_shape must be numbers such as"):
        load_model(path)
    with zipfile.ZipFile(good) as before, zipfile.ZipFile(path, "w") as after:
        for name in before.namelist():
            after.writestr(name, before.read(name) if "/code/" not in name else b"def")
    with pytest.raises(ModelError, match=r"^bad\.pt: PyTorch cannot load the file: "):
        load_model(path)


def test_what_is_not_quantized_is_refused(torch_nets, tmp_path) -> None:
    path = torch_nets.save_traced(torch_nets.Net().eval(), tmp_path / "float.pt")
    with pytest.raises(ModelError, match="model must be quantized: convert it"):
        load_model(path)
    path = torch_nets.save_exported(tmp_path / "open.pt2", output=False)
    with pytest.raises(ModelError, match="output must be quantized and dequantized"):
        load_model(path)


def test_scripted_modules_are_refused(torch_nets, tmp_path) -> None:
    module = torch.jit.script(torch_nets.quantized("x86"))
    path = tmp_path / "scripted.pt"
    torch.jit.save(module, str(path), _extra_files={"input_shape": torch_nets.SHAPE})
    with pytest.raises(ModelError, match="save a traced module"):
        load_model(path)
