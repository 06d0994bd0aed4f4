"""Acting as a user without rights, and giving that user rights as an administrator would.

It needs root to begin with; who is not root skips (`needs_root`).
"""

from __future__ import annotations

import os
import pickle
import shlex
import shutil
import struct
import subprocess
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

NOBODY = 65534
"""User and group `nobody` (Linux's overflow id, /proc/sys/kernel/overflowuid)."""

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="files of another user need root to make them")

_USER_OBJ, _USER, _GROUP_OBJ, _MASK, _OTHER, _NO_ID = 1, 2, 4, 0x10, 0x20, 0xFFFFFFFF
"""Tags of an ACL's entries, and the id of those that have none (linux/posix_acl.h)."""


def as_nobody(work: Callable[[], Any]) -> Any:
    """What `work` returns in a child process that has given up root for good."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
            answer = pickle.dumps((work(), None))
        except BaseException:  # noqa: BLE001 - the child must not run on into the parent's tests
            answer = pickle.dumps((None, traceback.format_exc()))
        with os.fdopen(write, "wb") as pipe:
            pipe.write(answer)
        os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        result, failure = pickle.loads(pipe.read())
    os.waitpid(child, 0)
    assert failure is None, failure
    return result


def follow(hint: str) -> None:
    """Carry out a hint `as root: setfacl … && setfacl …`, with the tool or, where it is not installed, as it would."""
    commands = [shlex.split(part) for part in hint.removeprefix("as root: ").split("&&")]
    for command in commands:
        assert command[0] == "setfacl"
        if shutil.which("setfacl"):
            subprocess.run(command, check=True)
        else:
            _setfacl(command[1:])


def _setfacl(words: list[str]) -> None:
    """`setfacl [-R] [-d] -m u:nobody:RIGHTS PATH`, as setfacl(1) says."""
    _, name, rights = words[words.index("-m") + 1].split(":")
    assert name == "nobody"
    top = Path(words[-1])
    for path in [top, *top.rglob("*")] if "-R" in words else [top]:
        mode = path.stat().st_mode
        bits = 4 * ("r" in rights) | ("x" in rights or ("X" in rights and path.is_dir()))
        group = mode >> 3 & 7
        entries = [(_USER_OBJ, mode >> 6 & 7, _NO_ID), (_USER, bits, NOBODY), (_GROUP_OBJ, group, _NO_ID),
                   (_MASK, group | bits, _NO_ID), (_OTHER, mode & 7, _NO_ID)]  # fmt: skip
        encoded = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
        os.setxattr(path, "system.posix_acl_" + ("default" if "-d" in words else "access"), encoded)
