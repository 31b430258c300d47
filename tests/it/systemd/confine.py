"""Runs a program as confined as a unit says, as far as that can be done without systemd: its system call filter, address
families, memory, namespaces, file system, /proc, capabilities, user and umask. Needs root and Linux on x86-64 or aarch64.

    confine.py UNIT UID WRITABLE_FOLDER PROGRAM [ARGUMENT]...

A folder of the host that the program must write to is the only one that it can; everything else is read-only.
"""

import ctypes
import os
import platform
import resource
import struct
import subprocess
import sys

ALLOW = 0x7FFF0000
ERRNO = 0x00050000
EPERM, ENOSYS, EAFNOSUPPORT = 1, 38, 97
ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}[platform.machine()]
FAMILIES = {"AF_UNIX": 1, "AF_INET": 2, "AF_INET6": 10, "AF_NETLINK": 16}
NEW_NAMESPACE = 0x7E020000 | 0x80
PROT_WRITE, PROT_EXEC, SHM_EXEC = 2, 4, 0o100000


def settings(unit):
    """The unit's keys, each with its values in order."""
    keys = {}
    for line in open(unit, encoding="utf-8"):
        key, equals, value = line.strip().partition("=")
        if equals and not key.startswith("#"):
            keys.setdefault(key, []).append(value)
    return keys


def group(name):
    """The system calls of a group, as systemd knows them."""
    if not name.startswith("@"):
        return {name}
    text = subprocess.run(["systemd-analyze", "syscall-filter", name], check=True, capture_output=True, text=True).stdout
    members = {line.strip() for line in text.splitlines()[1:]}
    return set().union(*(group(member) for member in members if member and not member.startswith("#")))


def allowed(keys):
    """The system calls that the lines SystemCallFilter= leave."""
    calls = set()
    for line in keys["SystemCallFilter"]:
        named = set().union(*(group(name) for name in line.lstrip("~").split()))
        calls = calls - named if line.startswith("~") else calls | named
    return calls


def numbers():
    """The numbers of this machine's system calls."""
    text = subprocess.run(
        ["cc", "-dM", "-E", "-"], input="#include <sys/syscall.h>\n", check=True, capture_output=True, text=True
    ).stdout
    found = {}
    for line in text.splitlines():
        words = line.split()
        if len(words) == 3 and words[1].startswith("__NR_") and words[2].isdigit():
            found[words[1][5:]] = int(words[2])
    return found


def load(offset):
    return (0x20, 0, 0, offset)


def give(answer):
    return (0x06, 0, 0, answer)


def equal(value, yes, no):
    return (0x15, yes, no, value)


def any_bit(mask, yes, no):
    return (0x45, yes, no, mask)


def argument(number):
    # The lower half: both machines are little-endian.
    return load(16 + 8 * number)


def program(keys):
    """The filter, as a list of BPF instructions."""
    nr = numbers()
    lines = [load(4), equal(ARCH, 1, 0), give(ERRNO | EPERM), load(0)]

    def case(call, body):
        if call in nr:
            lines.extend([equal(nr[call], 0, len(body)), *body])

    def on(key):
        return keys.get(key, ["no"])[-1] == "yes"

    families = keys["RestrictAddressFamilies"][-1].split()
    body = [argument(0)]
    for family in families:
        body += [equal(FAMILIES[family], 0, 1), give(ALLOW)]
    case("socket", [*body, give(ERRNO | EAFNOSUPPORT)])
    if on("MemoryDenyWriteExecute"):
        both = [argument(2), any_bit(PROT_EXEC, 0, 2), any_bit(PROT_WRITE, 0, 1), give(ERRNO | EPERM), load(0)]
        case("mmap", both)
        for call in ("mprotect", "pkey_mprotect"):
            case(call, [argument(2), any_bit(PROT_EXEC, 0, 1), give(ERRNO | EPERM), load(0)])
        case("shmat", [argument(2), any_bit(SHM_EXEC, 0, 1), give(ERRNO | EPERM), load(0)])
    if on("RestrictNamespaces"):
        case("clone", [argument(0), any_bit(NEW_NAMESPACE & ~0x80, 0, 1), give(ERRNO | EPERM), load(0)])
        # Its flags lie in memory, where no filter sees them.
        case("clone3", [give(ERRNO | ENOSYS)])
        for call in ("unshare", "setns"):
            case(call, [give(ERRNO | EPERM)])
    if on("LockPersonality"):
        case("personality", [give(ERRNO | EPERM)])
    for call in sorted(allowed(keys)):
        case(call, [give(ALLOW)])
    refused = {"EPERM": EPERM}[keys["SystemCallErrorNumber"][-1]]
    return [*lines, give(ERRNO | refused)]


def mount(*arguments):
    subprocess.run(["mount", *arguments], check=True)


def confine_files(writable):
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(0x00020000) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    mount("--make-rprivate", "/")
    mount("--bind", writable, writable)
    for line in reversed(open("/proc/self/mounts", encoding="utf-8").read().splitlines()):
        place = line.split()[1].encode().decode("unicode_escape")
        if place == writable or place.startswith(("/proc", "/dev", "/sys")):
            continue
        subprocess.run(["mount", "-o", "remount,bind,ro", place], check=place == "/", stderr=subprocess.DEVNULL)
    mount("-t", "proc", "-o", "subset=pid,hidepid=invisible", "proc", "/proc")


def confine_calls(instructions):
    libc = ctypes.CDLL(None, use_errno=True)
    code = b"".join(struct.pack("=HBBI", *one) for one in instructions)
    buffer = ctypes.create_string_buffer(code)

    class Program(ctypes.Structure):
        _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.c_void_p)]

    wanted = Program(len(instructions), ctypes.addressof(buffer))
    if libc.prctl(38, 1, 0, 0, 0) != 0 or libc.prctl(22, 2, ctypes.byref(wanted), 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


def main():
    unit, uid, writable, *command = sys.argv[1:]
    keys, uid = settings(unit), int(uid)
    # What needs tools and rights comes first.
    instructions = program(keys)
    confine_files(writable)
    os.umask(int(keys["UMask"][-1], 8))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    limit = min(int(keys["LimitNOFILE"][-1]), resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    libc = ctypes.CDLL(None, use_errno=True)
    assert keys["CapabilityBoundingSet"] == [""], "the empty set is what is done here"
    for capability in range(64):
        libc.prctl(24, capability, 0, 0, 0)
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    confine_calls(instructions)
    os.execv(command[0], command)


main()
