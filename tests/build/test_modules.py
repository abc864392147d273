"""Equal modules of RTLIL, and instances of them."""

from collections import Counter

from systolith.build.modules import instances, read_modules

RTLIL = """\
attribute \\generator "Amaranth"
attribute \\top 1
module \\top
  wire width 1 \\a
  cell \\top.left \\left
    connect \\x \\a
  end
  cell \\top.right \\right
    connect \\x \\a
  end
  cell \\top.other \\other
    connect \\x \\a
  end
end
attribute \\generator "Amaranth"
module \\top.left
  wire input 0 \\x
  cell \\top.left.inner \\inner
  end
end
module \\top.left.inner
  wire input 0 \\x
end
module \\top.right
  wire input 0 \\x
  cell \\top.right.inner \\inner
  end
end
module \\top.right.inner
  wire input 0 \\x
end
module \\top.other
  wire input 0 \\x
  cell $not \\inner
  end
end
"""


def test_equal_modules_are_one() -> None:
    modules, top = read_modules(RTLIL)
    assert top == "\\top"
    assert set(modules) == {"\\top", "\\top.left", "\\top.left.inner", "\\top.other"}
    assert "cell \\top.left \\right" in modules["\\top"].text()


def test_instances_are_counted_with_their_paths() -> None:
    modules, top = read_modules(RTLIL)
    found = list(instances(modules, top))
    assert Counter(module.name for _, module in found)["\\top.left.inner"] == 2
    assert ("right", "inner") in [path for path, _ in found]
    assert len(found) == 6
