"""The encoding of commands: layout, every field alone at its ends, and damaged streams."""

import pytest

from systolith.spec.commands import COMMANDS, HEADER, Opcode, decode, encode

FIELDS = [
    (opcode, item) for opcode, layout in COMMANDS.items() for item in layout.fields[len(HEADER) :]
]


@pytest.mark.parametrize("opcode", COMMANDS)
def test_fields_do_not_overlap_nor_straddle(opcode: Opcode) -> None:
    layout = COMMANDS[opcode]
    used: set[int] = set()
    for item in layout.fields:
        start = layout.offsets[item.name]
        bits = set(range(start, start + item.bits))
        assert not used & bits, item.name
        used |= bits
        assert start % 32 + item.bits <= 32 or start % 32 == 0, item.name
    assert max(used) < 32 * layout.words
    assert layout.words < 32, "the header's field `words` has 5 bits"
    assert len(layout.offsets) == len(layout.fields), "names must differ"


def test_the_header_is_the_same_in_all() -> None:
    assert len({tuple(layout.offsets[f.name] for f in HEADER) for layout in COMMANDS.values()}) == 1
    assert all(layout.offsets[f.name] < 32 for layout in COMMANDS.values() for f in HEADER)


@pytest.mark.parametrize(("opcode", "item"), FIELDS, ids=[f"{o.name}-{i.name}" for o, i in FIELDS])
def test_every_field_survives_and_changes_no_other(opcode: Opcode, item) -> None:
    (blank,) = (c for c in decode(encode(opcode) + encode(Opcode.END)) if c.opcode is opcode)
    for value in (item.low, item.low + 1, item.high - 1, item.high):
        words = encode(opcode, **{item.name: value})
        assert len(words) == COMMANDS[opcode].words
        assert all(0 <= word < 1 << 32 for word in words)
        command = next(decode(words + encode(Opcode.END)))
        assert dict(command.values) == {**blank.values, item.name: value}
    for value in (item.low - 1, item.high + 1):
        text = rf"^{item.name} must be between {item.low} and {item.high}, not {value}$"
        with pytest.raises(ValueError, match=text):
            encode(opcode, **{item.name: value})


def test_defaults() -> None:
    command = next(decode(encode(Opcode.FILL) + encode(Opcode.END)))
    assert command["opcode"] == Opcode.FILL
    assert command["words"] == COMMANDS[Opcode.FILL].words
    assert (command["d0_count"], command["length"], command["d_base"]) == (1, 0, 0)


def test_streams_of_several_commands() -> None:
    words = [w for o in (Opcode.FILL, Opcode.MATMUL, Opcode.STORE, Opcode.END) for w in encode(o)]
    behind = [0xFFFFFFFF]  # never looked at
    assert [c.opcode for c in decode(words + behind)] == [
        Opcode.FILL,
        Opcode.MATMUL,
        Opcode.STORE,
        Opcode.END,
    ]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ([], "command stream must end with END"),
        (encode(Opcode.FILL), "command stream must end with END"),
        ([15], "opcode at word 0 must be known, not 15"),
        ([*encode(Opcode.FILL), 15], "opcode at word 7 must be known, not 15"),
        (encode(Opcode.FILL)[:-1], "command at word 0 must have 7 words, not 6"),
    ],
)
def test_damaged_streams(words: list[int], text: str) -> None:
    with pytest.raises(ValueError) as caught:
        list(decode(words))
    assert str(caught.value) == text


def test_unknown_field() -> None:
    with pytest.raises(KeyError, match="FILL has no field 'nothing'"):
        encode(Opcode.FILL, nothing=0)
