# SPDX-License-Identifier: BSD-3-Clause
"""Ways to damage bytes, text and archives; each is a function of a generator and the whole."""

from __future__ import annotations

import io
import re
import zipfile

NUMBERS = (
    b"nan", b"NaN", b"inf", b"-inf", b"0", b"-1", b"-0", b"1", b"2", b"3", b"255", b"256", b"4096",
    b"65535", b"99999999", b"-9999999", b"1e400", b"-1e400", b"1e-320", b"1e18", b"1e300", b"0.1",
    b"1e-9", b"2147483648", b"9" * 19, b"9" * 30, b"9" * 5000, b"1_0", b"0x10", b"\xb2", b"",
    b" ", b"1,5", b"--", b"None", "٣".encode(), b"1e5", b"3.7", b"1969-01-01", b"25:61:61",
)  # fmt: skip
TEXTS = (
    b"_" * 3000, b" " * 3000, b"(" * 3000, b"-" * 3000, b"stage " * 500, b"lights " * 500, b"\0",
    b"\xff\xfe", b"\xef\xbb\xbf", b"\r", b"\n" * 50, b'"', b"'" * 99, b",", b";" * 200, b"\t",
    b"\x1b[31m", "é".encode("latin-1"), "\u202e".encode(), b"%s%n{0}", b"../../x", b"=1+1", b"#",
    b"x" * 100_000, b"[" * 3000, b"1-1-" * 2000, b"a" + b"_" * 30_000,
)  # fmt: skip


def flip_bits(rng, data):
    for place in rng.integers(0, len(data), int(rng.integers(1, 9))):
        data[place] ^= 1 << int(rng.integers(8))


def overwrite(rng, data):
    first = int(rng.integers(len(data)))
    n = min(int(rng.integers(1, 65)), len(data) - first)
    data[first : first + n] = rng.bytes(n) if rng.random() < 0.7 else bytes(n)


def insert(rng, data):
    first = int(rng.integers(len(data) + 1))
    data[first:first] = rng.bytes(int(rng.integers(1, 33)))


def delete(rng, data):
    first = int(rng.integers(len(data)))
    del data[first : first + int(rng.integers(1, 65))]


def truncate(rng, data):
    del data[int(rng.integers(len(data))) :]


def repeat(rng, data):
    first = int(rng.integers(len(data)))
    part = data[first : first + int(rng.integers(1, 513))]
    data[first:first] = part * int(rng.integers(1, 9))


def swap(rng, data):
    n = int(rng.integers(1, 257))
    if len(data) > 2 * n:
        a, b = sorted(rng.integers(0, len(data) - n, 2).tolist())
        if b - a >= n:
            data[a : a + n], data[b : b + n] = data[b : b + n], data[a : a + n]


def replace_number(rng, data):
    """Another number in place of one that is written in digits."""
    found = [match.span() for match in re.finditer(rb"[-+]?\d+(\.\d+)?", data[:200_000])]
    if found:
        first, stop = found[int(rng.integers(len(found)))]
        data[first:stop] = NUMBERS[int(rng.integers(len(NUMBERS)))]


def insert_text(rng, data):
    first = int(rng.integers(len(data) + 1))
    data[first:first] = TEXTS[int(rng.integers(len(TEXTS)))]


def shuffle_lines(rng, data):
    """One line twice, left out, moved or of the wrong number of cells."""
    lines = bytes(data).splitlines(keepends=True)
    i, j = (int(k) for k in rng.integers(0, len(lines), 2))
    kind = int(rng.integers(4))
    if kind == 0:
        lines.insert(j, lines[i])
    elif kind == 1:
        del lines[i]
    elif kind == 2:
        lines[i], lines[j] = lines[j], lines[i]
    else:
        lines[i] = lines[i].replace(b",", b",,", 1) + lines[j]
    data[:] = b"".join(lines)


def reencode(rng, data):
    """The text in another encoding, perhaps not the one that it declares."""
    names = ("utf-16", "utf-16-le", "utf-32", "utf-7", "cp037", "utf-8-sig")
    data[:] = bytes(data).decode("latin-1").encode(names[int(rng.integers(len(names)))], "replace")


BYTES = (flip_bits, overwrite, insert, delete, truncate, repeat, swap)
TEXT = (*BYTES, replace_number, replace_number, replace_number, insert_text, insert_text,
        shuffle_lines, shuffle_lines, reencode)  # fmt: skip


def damage(rng, path, mutators):
    """Apply up to three of these to a file."""
    data = bytearray(path.read_bytes())
    for _ in range(int(rng.integers(1, 4))):
        if data:
            mutators[int(rng.integers(len(mutators)))](rng, data)
    path.write_bytes(data)


def damage_member(rng, path, mutators):
    """Damage what a zip archive holds, and pack it again, so that its checksums are right."""
    with zipfile.ZipFile(path) as archive:
        members = {name: bytearray(archive.read(name)) for name in archive.namelist()}
    name = list(members)[int(rng.integers(len(members)))]
    for _ in range(int(rng.integers(1, 3))):
        if members[name]:
            # mostly where its header is
            head = bytearray(members[name][:128])
            part = head if rng.random() < 0.8 else members[name]
            mutators[int(rng.integers(len(mutators)))](rng, part)
            if part is head:
                members[name][:128] = head
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, data in members.items():
            archive.writestr(member, bytes(data))
    path.write_bytes(packed.getvalue())
