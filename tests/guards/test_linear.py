"""No prompt may hold the process up: `re` keeps the interpreter while it searches, and no deadline ends that.

What takes milliseconds in linear time takes many minutes in quadratic time at this length; so each text is read in a
process of its own, which can be ended.
"""

import subprocess
import sys

import pytest

MANY = 200_000
_READS = {
    "views": "from guards.text import views; list(views(text))",
    "unmasked": "from guards.unmask import unmasked; unmasked(text)",
    "granted": "from guards.slots import granted; granted(text)",
}


@pytest.mark.parametrize("unit", ["\\n", "é", "?", "a-", "4d "])
@pytest.mark.parametrize("read", _READS)
def test_a_long_text_of_one_kind_is_read_in_time(read, unit):
    code = f"text = {unit!r} * {MANY // len(unit)} + 'z'\n{_READS[read]}"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
