# SPDX-License-Identifier: Apache-2.0
"""As much of man(7) as our manual pages use: sections, tagged paragraphs, marked examples, as plain text."""
import re

from tree import read

ESCAPES = {r"\-": "-", r"\e": "\\", r"\&": "", r"\(aq": "'", r"\(mu": "x"}
FONTS = ("B", "I", "BR", "RB", "BI", "IB", "IR", "RI")


def plain(text):
    text = re.sub(r"\\f[BIRP]", "", text)
    return re.sub(r"\\(?:\(..|.)", lambda m: ESCAPES.get(m[0], m[0]), text)


def line(text):
    """One line of input as the reader sees it. A macro of one font has spaces between its words, of two none."""
    macro, _, rest = text.partition(" ")
    if macro[:1] != "." or macro[1:] not in FONTS:
        return plain(text)
    words = re.findall(r'"((?:[^"]|"")*)"|(\S+)', rest)
    return plain((" " if len(macro) == 2 else "").join(quoted or bare for quoted, bare in words))


class Page:
    """sections: {(section, subsection): [(tag, paragraph)]}, what has no tag under ''; marks: {comment: example}."""

    def __init__(self, path):
        self.sections, self.marks = {}, {}
        key, items, mark = ("", ""), [], None
        lines = read(path).splitlines()
        for number, text in enumerate(lines):
            if text.startswith((".SH ", ".SS ")):
                name = line(text[4:]).strip('"')
                key = (name, "") if text[1:3] == "SH" else (key[0], name)
                items = self.sections.setdefault(key, [["", ""]])
            elif text == ".PP":
                items.append(["", ""])
            elif lines[number - 1] == ".TP":
                items.append([line(text), ""])
            elif text.startswith('.\\" '):
                mark = text[4:]
                self.marks[mark] = ""
            elif text == ".fi":
                mark = None
            elif text[:1] != "." or text[1:].split(" ")[0] in FONTS:
                items[-1][1] = " ".join([items[-1][1], line(text)]).strip()
                if mark:
                    self.marks[mark] += line(text) + "\n"

    def tags(self, section, subsection=""):
        """{tag: paragraph} of one part; a tag of many words under its first as well."""
        return {tag: text for tag, text in self.sections.get((section, subsection), []) if tag}

    def text(self, section, subsection=""):
        return " ".join(" ".join(item) for item in self.sections.get((section, subsection), []))
