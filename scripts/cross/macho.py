"""Reads a Mach-O program and fails unless a macOS of that processor could load it with nothing but libSystem.

    python3 macho.py x86_64|aarch64 FILE

Checked are the format, the processor, the entry, the libraries that are imported, and the signature, without
which no ARM Mac runs a program: the hash of each page in it. Prints the oldest macOS that it asks for. The
names are those of Apple's <mach-o/loader.h> and, for the signature, <kern/cs_blobs.h>.
"""

import hashlib
import struct
import sys

MH_MAGIC_64, MH_EXECUTE = 0xFEEDFACF, 2
CPU_TYPES = {"x86_64": 0x01000007, "aarch64": 0x0100000C}
PLATFORM_MACOS = 1

LC_CODE_SIGNATURE, LC_VERSION_MIN_MACOSX, LC_BUILD_VERSION = 0x1D, 0x24, 0x32
LC_MAIN, LC_RPATH = 0x80000028, 0x8000001C
# Dylib, weak, re-exported, lazy, upward.
LC_LOADS = {0xC, 0x80000018, 0x8000001F, 0x20, 0x80000023}

CSMAGIC_EMBEDDED_SIGNATURE, CSMAGIC_CODEDIRECTORY = 0xFADE0CC0, 0xFADE0C02
CS_HASHTYPE_SHA256 = 2

SYSTEM = "/usr/lib/libSystem.B.dylib"


class Wrong(Exception):
    pass


def expect(condition, message):
    if not condition:
        raise Wrong(message)


def load_commands(data):
    """Each load command: its number and its bytes."""
    count, size = struct.unpack_from("<2I", data, 16)
    at, end = 32, 32 + size
    expect(end <= len(data), "expected load commands within the file")
    for _ in range(count):
        expect(at + 8 <= end, f"expected {count} load commands, found fewer")
        command, length = struct.unpack_from("<2I", data, at)
        expect(length >= 8 and at + length <= end, f"expected a load command of length 8 or more, found {length}")
        yield command, data[at : at + length]
        at += length


def text(command, offset):
    """The string of a load command, whose place in it is at `offset`."""
    (start,) = struct.unpack_from("<I", command, offset)
    return command[start:].split(b"\0")[0].decode("utf-8", "replace")


def check_signature(data, command):
    """The hash of each page of the file up to the signature is in it."""
    start, size = struct.unpack_from("<2I", command, 8)
    blob = data[start : start + size]
    expect(len(blob) == size and size >= 12, "expected the signature within the file")
    magic, _, count = struct.unpack_from(">3I", blob)
    expect(magic == CSMAGIC_EMBEDDED_SIGNATURE, f"expected a signature, found magic {magic:#x}")
    for index in range(count):
        _, at = struct.unpack_from(">2I", blob, 12 + 8 * index)
        if struct.unpack_from(">I", blob, at)[0] == CSMAGIC_CODEDIRECTORY:
            return check_pages(data, blob[at:], start)
    raise Wrong("expected a code directory in the signature, found none")


def check_pages(data, directory, limit):
    hash_offset, _, _, slots, code_limit = struct.unpack_from(">5I", directory, 16)
    hash_size, hash_type, _, page_shift = struct.unpack_from("4B", directory, 36)
    found = (hash_size, hash_type, code_limit)
    wanted = (32, CS_HASHTYPE_SHA256, limit)
    expect(found == wanted, f"expected hash size, type and limit {wanted}, found {found}")
    page = 1 << page_shift
    expect(slots == -(-limit // page), f"expected a hash for each page, found {slots}")
    for slot in range(slots):
        digest = hashlib.sha256(data[slot * page : min((slot + 1) * page, limit)]).digest()
        at = hash_offset + 32 * slot
        expect(directory[at : at + 32] == digest, f"page {slot} differs from its hash in the signature")


def oldest_system(command, number):
    if number == LC_VERSION_MIN_MACOSX:
        (version,) = struct.unpack_from("<I", command, 8)
    else:
        platform, version = struct.unpack_from("<2I", command, 8)
        expect(platform == PLATFORM_MACOS, f"expected platform {PLATFORM_MACOS} (macOS), found {platform}")
    return f"{version >> 16}.{version >> 8 & 255}"


def check(arch, data):
    expect(len(data) >= 32, "expected a Mach-O header, found a shorter file")
    magic, cpu, _, kind = struct.unpack_from("<4I", data)
    expect(magic == MH_MAGIC_64, f"expected magic {MH_MAGIC_64:#x} (Mach-O, 64 bits), found {magic:#x}")
    expect(cpu == CPU_TYPES[arch], f"expected processor {CPU_TYPES[arch]:#x} ({arch}), found {cpu:#x}")
    expect(kind == MH_EXECUTE, f"expected file type {MH_EXECUTE} (a program), found {kind}")
    libraries, seen, oldest = [], set(), None
    for number, command in load_commands(data):
        seen.add(number)
        if number in LC_LOADS:
            libraries.append(text(command, 8))
        elif number == LC_RPATH:
            raise Wrong(f"expected no search path for libraries, found {text(command, 8)}")
        elif number == LC_CODE_SIGNATURE:
            check_signature(data, command)
        elif number in (LC_BUILD_VERSION, LC_VERSION_MIN_MACOSX):
            oldest = oldest_system(command, number)
    expect(libraries == [SYSTEM], f"expected {SYSTEM} as the one library, found {libraries}")
    expect(LC_MAIN in seen, "expected an entry (LC_MAIN), found none")
    expect(oldest, "expected the oldest macOS that it runs on, found none")
    expect(arch != "aarch64" or LC_CODE_SIGNATURE in seen, "expected a signature, found none")
    return oldest


def main(arch, path):
    with open(path, "rb") as file:
        data = file.read()
    try:
        print(f"Mach-O for {arch}, macOS {check(arch, data)} or later, libSystem alone")
    except (Wrong, struct.error) as error:
        sys.exit(f"{path}: {error}")


if __name__ == "__main__":
    main(*sys.argv[1:])
