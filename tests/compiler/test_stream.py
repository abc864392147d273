"""LOADs of parameters: whatever their form, golden's memory gets what the constants are."""

import numpy as np
import pytest

from systolith.compiler.constants import ChannelParameters, Constants
from systolith.compiler.cuts import full_values
from systolith.compiler.external import ExternalImage
from systolith.compiler.stream import stream_constants
from systolith.golden.memory import Chip
from systolith.golden.transfer import External, load
from systolith.spec.accelerator import (
    AcceleratorSpec,
    ArraySpec,
    ExternalSpec,
    MemorySpec,
    PostSpec,
)
from systolith.spec.commands import Opcode, ParameterForm, Target, decode_one, encode
from systolith.spec.program import Program

FORMS = {
    "channels": [ParameterForm.SHORT],
    "wide": [ParameterForm.WIDE],
    "tensor": [ParameterForm.UNIFORM, ParameterForm.BIAS],
    "one": [ParameterForm.UNIFORM],
}


def spec_of(columns, lanes, bus):
    return AcceleratorSpec(
        array=ArraySpec(rows=32, columns=columns),
        memory=MemorySpec(weight_bytes=columns * 64, parameter_channels=lanes * 256),
        post=PostSpec(lanes=lanes),
        external=ExternalSpec(data_bytes=bus),
    )


def parameters(kind, count, seed):
    """Random parameters of ``count`` channels that are alike as ``kind`` says."""
    rng = np.random.default_rng(seed)

    def draw(low, high, alike):
        return np.full(count, rng.integers(low, high)) if alike else rng.integers(low, high, count)

    alike, large = kind in ("tensor", "one"), 62 if kind == "wide" else 55
    return ChannelParameters(
        bias=draw(-(1 << 31), 1 << 31, kind == "one"),
        multiplier=draw(-(1 << 31), 1 << 31, alike),
        shift=draw(-128, 128, alike),
        offset=draw(-(1 << large), 1 << large, alike),
    )


def store(constants, channels, columns):
    """Fields of a STORE of all channels."""
    base, stride = constants.parameters(channels, columns)
    tiles = -(-channels.count // columns)
    fields = {"p_base": base, "p_stride": stride, "n_count": tiles, "tile_channels": columns}
    return full_values(Opcode.STORE, fields | {"channels": channels.count})


def loaded(spec, loads, external):
    """The parameter memory of golden after the LOADs; all of it is 0xEE before."""
    program = Program(
        spec=spec, commands=np.zeros(0, np.uint32),
        weights=np.zeros((0, spec.array.columns), np.uint8),
        parameters=np.full((spec.lane_words, spec.post.lanes, 8), 0xEE, np.uint32),
        tables=np.zeros((0, 256), np.uint8), buffers={}, inputs=(), outputs=(), layers=(),
        external=external.image(), external_bytes=external.size,
    )  # fmt: skip
    chip, outside = Chip(program), External(external.image(), external.size)
    for item in loads:
        load(chip, outside, decode_one(encode(Opcode.LOAD, **item.values), 0))
    return chip.parameters


@pytest.mark.parametrize(("columns", "lanes", "bus"), [(16, 16, 16), (12, 6, 8), (8, 8, 32)])
@pytest.mark.parametrize("kind", FORMS)
@pytest.mark.parametrize("ragged", [0, 5])
def test_forms(kind, columns, lanes, bus, ragged):
    """Lanes without a channel do not keep a word from being uniform."""
    spec = spec_of(columns, lanes, bus)
    constants, external = Constants(spec), ExternalImage()
    fields = store(constants, parameters(kind, 8 * columns - ragged, 7), columns)
    image = constants.images()[1]
    loads = stream_constants([(Opcode.STORE, fields, "a")], constants, external).loads
    assert [item.values["form"] for item in loads] == FORMS[kind]
    got = loaded(spec, loads, external)[fields["p_base"] :][: len(image)]
    np.testing.assert_array_equal(got[..., :5], image[..., :5])


@pytest.mark.parametrize(("lanes", "columns"), [(1, 16), (2, 16), (16, 16)])
def test_what_saves_no_cycles_is_loaded_whole(lanes, columns):
    """One lane's record is no shorter in two parts; nor is one word, with a LOAD more."""
    spec = spec_of(columns, lanes, 16)
    constants, external = Constants(spec), ExternalImage()
    fields = store(constants, parameters("tensor", min(columns, lanes), 3), lanes)
    loads = stream_constants([(Opcode.STORE, fields, "a")], constants, external).loads
    assert [item.values["form"] for item in loads] == [ParameterForm.SHORT]


def test_words_of_a_layer_arrive_together():
    """Four STOREs of a layer, a word each, need two LOADs; another layer has its own."""
    spec = spec_of(16, 16, 16)
    constants, external, commands = Constants(spec), ExternalImage(), []
    for layer, seed in (("a", 1), ("b", 2)):
        fields = store(constants, parameters("tensor", 64, seed), 16)
        for tile in range(4):
            one = fields | {"p_base": fields["p_base"] + tile, "n_count": 1, "channels": 16}
            commands.append((Opcode.STORE, one, layer))
    image = constants.images()[1]
    loads = stream_constants(commands, constants, external).loads
    assert [item.values["target"] for item in loads] == [Target.PARAMETERS] * 4
    assert [item.before for item in loads] == [0, 0, 4, 4]
    assert [values["p_base"] for _, values, _ in commands] == list(range(8))
    np.testing.assert_array_equal(loaded(spec, loads, external)[:8, :, :5], image[..., :5])
