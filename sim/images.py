"""What lies in which memory: programs and activations as words of the accelerator's memories."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from systolith.spec.accelerator import AcceleratorSpec
from systolith.spec.program import Program
from systolith.spec.requant import PARAMETER_FIELDS

__all__ = [
    "Words",
    "activation_names",
    "join_activations",
    "program_words",
    "split_activations",
]

Words = NDArray[np.uint8]
"""Contents of a memory from word 0: [words, bytes of a word], little-endian."""


def _parameter_words(program: Program) -> dict[str, Words]:
    """The parameter memories: one per field, all lanes side by side."""
    words = np.ascontiguousarray(program.parameters, dtype="<u4")
    raw = words.view(np.uint8).reshape(*words.shape[:2], 32)
    return {
        f"store.parameters.{f.name}_memory": raw[
            :, :, 4 * f.word : 4 * f.word + f.bits // 8
        ].reshape(len(words), program.spec.post.lanes * f.bits // 8)
        for f in PARAMETER_FIELDS
    }


def program_words(program: Program) -> dict[str, Words]:
    """Contents of every memory that holds constants, by the memory's name in the accelerator."""
    spec = program.spec
    commands = np.ascontiguousarray(program.commands, dtype="<u4")
    result = {
        "fetch.memory": commands.view(np.uint8).reshape(-1, 4),
        "weights.memory": np.ascontiguousarray(program.weights, dtype=np.uint8),
        **_parameter_words(program),
    }
    if spec.post.softmax_tables:
        exponents = np.ascontiguousarray(program.exponents, dtype="<u4")
        result["move.softmax.exponents"] = exponents.view(np.uint8).reshape(-1, 4)
    if spec.memory.tables:
        table = np.ascontiguousarray(program.tables, dtype=np.uint8).reshape(-1, 1)
        result |= {f"store.lane{i}.tables": table for i in range(spec.post.lanes)}
    return result


def activation_names(spec: AcceleratorSpec) -> list[tuple[str, str]]:
    """Names of the even and odd bank of every region."""
    return [
        (f"activations.region{g}_even", f"activations.region{g}_odd")
        for g in range(spec.memory.activation_regions)
    ]


def split_activations(spec: AcceleratorSpec, image: NDArray[np.uint8]) -> dict[str, Words]:
    """Cut an image of the address space, uint8 [regions * region_stride], into the banks' words."""
    regions = image.reshape(spec.memory.activation_regions, spec.region_stride)
    result = {}
    for (even, odd), region in zip(activation_names(spec), regions, strict=True):
        lines = region[: spec.memory.activation_bytes].reshape(-1, 2, spec.line_bytes)
        result[even], result[odd] = lines[:, 0], lines[:, 1]
    return result


def join_activations(spec: AcceleratorSpec, words: Mapping[str, Words]) -> NDArray[np.uint8]:
    """Inverse of `split_activations`; addresses without memory read 0."""
    image = np.zeros((spec.memory.activation_regions, spec.region_stride), np.uint8)
    for region, (even, odd) in zip(image, activation_names(spec), strict=True):
        pair = np.stack([words[even], words[odd]], axis=1)
        region[: spec.memory.activation_bytes] = pair.reshape(-1)
    return image.reshape(-1)
