# SPDX-License-Identifier: Apache-2.0
"""PNG pictures of 8 bits a colour, red, green and blue, as minivmm-display writes them."""
import collections
import struct
import zlib

SIGNATURE = b"\x89PNG\r\n\x1a\n"
PIXEL = 3


def chunks(data):
    assert data.startswith(SIGNATURE), "this is not a PNG picture"
    at = len(SIGNATURE)
    while at < len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        body = data[at + 8:at + 8 + size]
        assert struct.unpack_from(">I", data, at + 8 + size)[0] == zlib.crc32(kind + body), "a chunk is damaged"
        yield kind, body
        at += 12 + size


def paeth(left, above, corner):
    guess = left + above - corner
    return min((left, above, corner), key=lambda value: abs(guess - value))


PREDICTIONS = (
    lambda left, above, corner: 0,
    lambda left, above, corner: left,
    lambda left, above, corner: above,
    lambda left, above, corner: (left + above) // 2,
    paeth,
)


def unfilter(kind, line, above):
    predict = PREDICTIONS[kind]
    for i, byte in enumerate(line):
        left, corner = (line[i - PIXEL], above[i - PIXEL]) if i >= PIXEL else (0, 0)
        line[i] = (byte + predict(left, above[i], corner)) & 0xff


class Picture:
    """width, height and lines, each a bytearray of pixels."""

    def __init__(self, data):
        parts = collections.defaultdict(bytes)
        for kind, body in chunks(data):
            parts[kind] += body
        assert b"IEND" in parts, "the picture has no end"
        self.width, self.height, *form = struct.unpack(">IIBBBBB", parts[b"IHDR"])
        assert form == [8, 2, 0, 0, 0], f"not the form that is expected: {form}"
        raw, size = zlib.decompress(parts[b"IDAT"]), PIXEL * self.width
        assert len(raw) == (size + 1) * self.height
        self.lines, above = [], bytes(size)
        for at in range(0, len(raw), size + 1):
            line = bytearray(raw[at + 1:at + 1 + size])
            if raw[at]:
                unfilter(raw[at], line, above)
            self.lines.append(line)
            above = line

    def colours(self):
        """How often each comes, most often first."""
        count = collections.Counter()
        for line in self.lines:
            count.update(zip(*[iter(line)] * PIXEL))
        return count.most_common()
