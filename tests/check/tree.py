# SPDX-License-Identifier: Apache-2.0
"""What the checks share: the files of the tree, and a way to tell what is wrong with them."""
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]


def files(*suffixes):
    """Paths under version control, below the root; all, or those with one of the suffixes."""
    out = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    paths = [pathlib.Path(name) for name in out.decode().split("\0") if name]
    return [p for p in paths if (ROOT / p).is_file() and (not suffixes or p.suffix in suffixes)]


def read(path):
    return (ROOT / path).read_text(encoding="utf-8", errors="replace")


def finish(faults):
    for fault in faults:
        print(fault)
    sys.exit(1 if faults else 0)
