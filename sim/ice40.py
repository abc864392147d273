"""Yosys' passes for an iCE40UP5K, around a fault of its `ice40_dsp`."""

__all__ = ["synth_ice40"]

_BLOCKS = 8
"""Blocks of the part. `wreduce` narrows the next register of a chain of sums each time it runs."""

_OUTPUTS = "t:SB_MAC16 t:$add t:$mux %u %u %co1:+[O,Y]"
_REGISTERS = "t:$dff t:$dffe t:$sdff t:$sdffce %u %u %u"
_RESULTS = f"{_OUTPUTS} %a %co1:+[D] {_REGISTERS} %i %co1:+[Q] w:* %i %a a:keep %d"
"""Wires of registers that take a product, a sum, or either of several."""

_DSP_MAP = (
    "techmap -map +/mul2dsp.v -map +/ice40/dsp_map.v -D DSP_A_MAXWIDTH=16 -D DSP_B_MAXWIDTH=16 "
    "-D DSP_A_MINWIDTH=2 -D DSP_B_MINWIDTH=2 -D DSP_Y_MINWIDTH=11 -D DSP_NAME=$__MUL16X16"
)

_COARSE = (
    "opt_expr",
    "check",
    "opt_clean",
    "opt -nodffe -nosdff",
    "fsm",
    "opt",
    "wreduce",
    "peepopt",
    "opt_clean",
    "share",
    "techmap -map +/cmp2lut.v -D LUT_WIDTH=4",
    "opt_expr",
    "opt_clean",
    "memory_dff",
    "alumacc -macc-only",
    "maccmap -unmap",
    "opt_clean",
    "wreduce t:$mul",
)
"""The step `coarse` of Yosys 0.70 with its options, up to the products."""

_BLOCK_PASSES = (
    "select a:mul2dsp",
    "setattr -unset mul2dsp",
    "opt_expr -fine",
    "wreduce",
    "select -clear",
    *("wreduce", "opt_clean") * _BLOCKS,
    f"select -set results {_RESULTS}",
    "setattr -set keep 1 @results",
    "ice40_dsp t:$mul %n",
    "setattr -unset keep @results",
    "opt_clean",
    "check -assert",
    "chtype -set $mul t:$__soft_mul",
    "alumacc",
    "opt",
    "memory -nomap",
    "opt_clean",
)
"""The rest of it, and what keeps `ice40_dsp` from losing sums."""


def synth_ice40(top: str = "top", *, blocks: int | None = None) -> tuple[str, ...]:
    """Passes that map a design to an iCE40UP5K's cells.

    They are those of `synth_ice40 -dsp`, but for two things. `ice40_dsp` takes the register in
    front of an adder into the block as its register C, and the register behind an adder as its
    register O. In a chain of sums one register is both; the block behind then takes what the block
    ahead drops: the sum before its register. So registers that take a product or a sum are kept
    from becoming operands' registers; they become O. And what is used without a driver, as those
    sums were, is an error here: it would become a constant without a word.

    Parameters
    ----------
    top: name of the top module.
    blocks: give so many products a block, any of them, and look-up tables to the others.
    """
    flags = f"synth_ice40 -device u -dsp -spram -top {top} -run"
    chosen = "t:$mul" if blocks is None else f"t:$mul %R{blocks}"
    mapping = (f"select -set products {chosen}", f"{_DSP_MAP} @products")
    return (f"{flags} begin:coarse", *_COARSE, *mapping, *_BLOCK_PASSES, f"{flags} map_ram:")
