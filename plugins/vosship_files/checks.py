"""What `vosship check` says of the CDR directory, in the order in which an operator would look.

It changes nothing, apart from a second name of one file, made and removed again to try the rescue directory.
"""

from __future__ import annotations

import errno
import os
import pwd
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from zoneinfo import ZoneInfo

from vosship.plugin import Context, Remark
from vosship_files.directory import Directory, Entry, Pattern
from vosship_files.names import family as name_family
from vosship_files.names import local_time
from vosship_files.options import Options


def examine(options: Options, patterns: Sequence[Pattern], zone: ZoneInfo, context: Context, family: str) -> Iterator[Remark]:
    """All remarks on one input."""
    directory = Directory(patterns, zone)
    directory.look(full=True)
    for folder in dict.fromkeys(found.folder for found in patterns):
        yield from _folder(folder, directory, family)
    for path, reason in sorted(directory.unnameable.items()):
        yield Remark("bad", f"{path} is not read: {reason}")
    entries = sorted(directory.entries.values(), key=lambda entry: entry.order)
    if entries:
        yield from _files(entries, context)
    else:
        yield from _silence(patterns, context, family)
    if options.rescue_dir is not None:
        yield from _rescue(context.base_dir / options.rescue_dir, entries)


def user() -> str:
    """The name of the user this process runs as."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def _folder(folder: str, directory: Directory, family: str) -> Iterator[Remark]:
    closed = _closed_parent(Path(folder))
    problem = directory.problems.get(folder)
    if closed is not None:
        recipe = f"setfacl -m u:{user()}:x {closed}"
        yield Remark("bad", f"{closed} may not be passed through by {user()}", f"as root: {recipe}")
    elif problem == "missing":
        yield Remark("bad", f"{folder} does not exist", "`inputs.*.paths` must name cdr/ below the switch's installation")
    elif problem is not None or not os.access(folder, os.R_OK):
        recipe = f"setfacl -m u:{user()}:rx {folder} && setfacl -d -m u:{user()}:r {folder}"
        yield Remark("bad", f"{folder} may not be listed by {user()}: {problem or 'permission denied'}", f"as root: {recipe}")
    else:
        found = [entry for entry in directory.entries.values() if entry.folder == folder]
        names = [path.name for path in Path(folder).iterdir()]
        others = sum(1 for name in names if local_time(name) and name_family(name) != family)
        beside = f"; {others} files beside them are the other family's: the same calls, not read by this input" if others else ""
        yield Remark("good" if found else "warn", f"{folder} holds {len(found)} {family} files{beside}")


def _closed_parent(folder: Path) -> Path | None:
    """The outermost parent that this user may not pass through."""
    for parent in reversed(folder.parents):
        try:
            parent.stat()
        except PermissionError:
            return parent.parent
        except OSError:
            return None
        if not os.access(parent, os.X_OK):
            return parent
    return None


def _files(entries: list[Entry], context: Context) -> Iterator[Remark]:
    unreadable = [entry for entry in entries if not os.access(entry.path, os.R_OK)]
    if unreadable:
        folder = unreadable[0].folder
        recipe = f"setfacl -R -m u:{user()}:rX {folder} && setfacl -d -m u:{user()}:r {folder}"
        yield Remark("bad", f"{len(unreadable)} files may not be read by {user()}: {unreadable[0].path}", f"as root: {recipe}")
    else:
        yield Remark("good", f"{len(entries)} files can be read by {user()}")
    newest = entries[-1]
    age_s = context.now() - newest.mtime_ns / 1e9
    text = f"newest file {newest.path}: {newest.size} bytes, last written {_span(age_s)} ago"
    interval = context.switch_parameters.get("SERVER_CDR_FILE_WRITE_INTERVAL")
    limit_s = 2 * float(interval) if interval is not None and str(interval).isdigit() else 7200.0
    if age_s > limit_s:
        yield Remark("warn", text, "is the switch running, and is SS_CDR_RECORD_TO_FILE still On?")
    else:
        yield Remark("good", text)


def _silence(patterns: Sequence[Pattern], context: Context, family: str) -> Iterator[Remark]:
    """The causes of an empty directory, most likely first."""
    where = ", ".join(dict.fromkeys(found.folder for found in patterns))
    parameter = context.switch_parameters.get("SS_CDR_RECORD_TO_FILE")
    yield Remark(
        "bad",
        f"1. SS_CDR_RECORD_TO_FILE is {parameter}" if parameter else "1. SS_CDR_RECORD_TO_FILE may be Off, its default",
        "set it to On in the switch's softswitch parameters",
    )
    yield Remark("warn", f"2. the files may lie elsewhere than {where}", "find / -type d -name cdr; usual: /home/vos3000/cdr")
    yield Remark("warn", f"3. {user()} may lack a right on the way: {_rights(Path(patterns[0].folder))}", "namei -l shows them all")
    yield Remark(
        "warn",
        f"4. the names may not match the pattern; this input reads the {family} family",
        "`*.txt` for YYYYMMDDHH.txt, `cdr_*.csv` for the quoted files",
    )
    yield Remark(
        "warn", "5. the first file appears only after a call and SERVER_CDR_FILE_WRITE_INTERVAL", "make one test call, wait for it"
    )
    yield Remark("warn", "6. without SS_CDR_RECORD_NONCONNECT only answered calls are written", "it is Off by default")
    yield Remark(
        "warn", "7. with a small SERVER_CDR_FILE_WRITE_MAX files may be deleted before they are seen", "2048 is the default"
    )


def _rights(folder: Path) -> str:
    shown = []
    for parent in [*reversed(folder.parents), folder]:
        try:
            shown.append(f"{parent} {'rwx' if parent.stat().st_uid == os.geteuid() else oct(parent.stat().st_mode & 0o777)}")
        except OSError as error:
            shown.append(f"{parent} {errno.errorcode.get(error.errno or 0, 'unknown')}")
            break
    return ", ".join(shown)


def _rescue(target: Path, entries: list[Entry]) -> Iterator[Remark]:
    try:
        nearest = next(parent for parent in [target, *target.parents] if parent.exists())
        with tempfile.TemporaryDirectory(dir=nearest, prefix=".vosship-check-") as trial:
            refused = _refusal(entries[0], Path(trial)) if entries else None
    except OSError as error:
        yield Remark("bad", f"rescue_dir {target} cannot be written: {error.strerror}", "choose a directory of the agent's own")
        return
    if refused:
        yield Remark("warn", f"rescue_dir {target}: files at risk are copied ({refused})", "copies take rescue_max_bytes of disk")
    elif entries:
        yield Remark("good", f"rescue_dir {target}: files at risk are hard-linked")


def _refusal(entry: Entry, folder: Path) -> str | None:
    """Why the file cannot have a second name in the folder, found out by trying."""
    try:
        os.link(entry.path, folder / entry.base)
    except OSError as error:
        reasons = {
            errno.EXDEV: "another file system or mount",
            errno.EPERM: "fs.protected_hardlinks forbids it for files of others",
        }
        return reasons.get(error.errno or 0, str(error.strerror))
    return None


def _span(seconds: float) -> str:
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} s"
