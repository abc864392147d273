"""How many words of command memory programs take that come from external memory."""

from systolith.spec.accelerator import AcceleratorSpec
from systolith.spec.commands import COMMANDS, Opcode

__all__ = ["chunk_arena", "least_words"]


def least_words() -> int:
    """Command words that do for any program: halves of LOAD, the longest command, JUMP."""
    longest = max(layout.words for layout in COMMANDS.values())
    return 2 * (COMMANDS[Opcode.LOAD].words + longest + COMMANDS[Opcode.JUMP].words)


def chunk_arena(words: int, spec: AcceleratorSpec) -> int:
    """Bytes of external memory that hold the chunks of a program of so many words, or more."""
    have = spec.memory.command_words
    if words <= have:
        return 0
    half = have // 2
    used = max(half - least_words() // 2, 1)
    return 4 * half * (words // used + 2)
