"""ResNet-50 and MobileNetV2 in tiles, every tensor of every layer, on golden."""

import importlib.util
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from systolith.compiler.check import check_program
from systolith.importers.load import load_model
from systolith.spec.accelerator import ExternalSpec
from systolith.spec.commands import Target
from systolith.spec.configuration import load_spec

_SCRIPT = Path(__file__).parents[2] / "scripts" / "make_networks.py"


def written(folder, name, **options):
    """Write a network and return its path."""
    spec = importlib.util.spec_from_file_location("make_networks", _SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    path = folder / f"{name}.onnx"
    module.make_network(name, path, **options)
    return path


def streaming(**memory):
    """The base accelerator with external memory and the depthwise mode."""
    base = load_spec("base")
    return replace(
        base,
        array=replace(base.array, depthwise_lines=3),
        post=replace(base.post, lanes=16),
        external=ExternalSpec(data_bytes=16),
        memory=replace(base.memory, **memory),
    )


def compare(nets, path, spec):
    graph = load_model(path)
    source = graph.tensor(graph.inputs[0])
    values = np.random.default_rng(5).normal(size=source.shape).astype(np.float32)
    return nets.compare(graph, spec, inputs={source.name: values})


@pytest.mark.parametrize("name", ["resnet50", "mobilenetv2"])
def test_small_versions(nets, tmp_path, name):
    """All layers of the networks, an eighth as wide, from 64 x 64 images."""
    path = written(tmp_path, name, size=64, width=0.125)
    model = compare(nets, path, streaming(activation_bytes=8192, weight_bytes=1 << 15))
    assert model.memory.constants[Target.WEIGHTS] <= 1 << 15
    assert any(" tiles" in note.text for note in model.notes)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet50", "mobilenetv2"])
def test_whole_networks(nets, tmp_path, name):
    """224 x 224 with 256 KiB of activations and of weights on chip."""
    path = written(tmp_path, name)
    model = compare(nets, path, streaming(weight_bytes=1 << 18))
    assert model.memory.peak <= 1 << 18
    assert model.memory.constants[Target.WEIGHTS] <= 1 << 18
    assert check_program(model.program).tokens <= 64
