# SPDX-License-Identifier: Apache-2.0
"""Tables of the sources (`const struct x name[] = { { ... }, ... };`), for checks against what documents say."""
import re

from tree import read

TOKEN = re.compile(r'/\*.*?\*/|"(?:[^"\\]|\\.)*"|\s+|\w+|.', re.S)


def tokens(text):
    """Words, strings and signs; without comments and preprocessor lines."""
    text = re.sub(r"^[ \t]*#.*(?:\\\n.*)*$", "", text, flags=re.M)
    return [t for t in TOKEN.findall(text) if not t.isspace() and not t.startswith("/*")]


def body(path, name):
    """The tokens between the braces of the table's initialiser."""
    found = re.search(r"\b" + name + r"\s*(?:\[\w*\]\s*)?=\s*\{", read(path))
    if not found:
        raise SystemExit(f"{path} has no table {name}")
    depth, inside = 1, []
    for token in tokens(read(path)[found.end():]):
        depth += (token == "{") - (token == "}")
        if not depth:
            return inside
        inside.append(token)
    raise SystemExit(f"{path}: the table {name} does not end")


def rows(path, name):
    """The table's rows, each as its tokens; a row is what stands between commas at the top."""
    found, depth = [[]], 0
    for token in body(path, name):
        depth += (token in "{([") - (token in "})]")
        if token == "," and not depth:
            found.append([])
        else:
            found[-1].append(token)
    return [row for row in found if row]


def strings(row):
    """The row's strings, neighbours joined as C does."""
    found, joined = [], False
    for token in row:
        is_string = token.startswith('"')
        if is_string and joined:
            found[-1] += token[1:-1]
        elif is_string:
            found.append(token[1:-1])
        joined = is_string
    return found


def field(row, name):
    """The tokens of `.name = ...` in the row, up to the comma; None when it is not there."""
    depth, value = 0, None
    for i, token in enumerate(row):
        depth += (token in "{([") - (token in "})]")
        if value is not None:
            if depth < 1 or (token == "," and depth == 1):
                break
            value.append(token)
        elif token == "=" and row[i - 2:i] == [".", name]:
            value = []
    return value
