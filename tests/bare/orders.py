# SPDX-License-Identifier: Apache-2.0
"""Orders of a bare guest: lines of its output that something on the host obeys."""
import re


def obey(orders, line):
    """orders: (pattern, function of its groups). Whether the line was one of them, and why it could not be
    done, or None."""
    for pattern, order in orders:
        found = re.fullmatch(pattern, line)
        if found:
            return True, order(*found.groups())
    return False, None
