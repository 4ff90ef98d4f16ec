"""What this machine lets us do: whom to run as, what that user can reach, which port is free."""

from __future__ import annotations

import ctypes
import os
import pwd
import secrets
import shutil
import signal
import socket
import stat
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

MACHINE_STATE = Path("/var/lib/credit-ledger")
"""Where files go that the service user must reach, when the checkout is not reachable."""

# Below Linux's ephemeral range: an outgoing connection can never sit on a port chosen here.
_PORTS = range(20_000, 32_000)
_PR_SET_PDEATHSIG = 1


class ServiceUser(msgspec.Struct, frozen=True, kw_only=True):
    """The account that PostgreSQL and Valkey run as when the launcher is root."""

    name: str
    uid: int
    gid: int


def service_user() -> ServiceUser | None:
    """Return whom root drops to, or None when we are not root and there is nothing to drop.

    `RUN_USER` names one; else `postgres` where it exists, else `nobody`. A bare uid would not
    do: initdb wants an entry in the password file. Raises LookupError for an unknown name.
    """
    if os.geteuid() != 0:
        return None
    wanted = os.environ.get("RUN_USER")
    for name in [wanted] if wanted else ["postgres", "nobody"]:
        with suppress(KeyError):
            entry = pwd.getpwnam(name)
            return ServiceUser(name=name, uid=entry.pw_uid, gid=entry.pw_gid)
    raise LookupError(f"root needs a user to run PostgreSQL as; RUN_USER={wanted} is none")


def can_reach(path: Path, user: ServiceUser | None) -> bool:
    """Tell whether `user` may walk through every folder down to `path` (None: we may)."""
    if user is None:
        return True
    folders = [folder for folder in (path, *path.parents) if folder.is_dir()]
    return all(_may_enter(folder.stat(), user) for folder in folders)


def _may_enter(facts: os.stat_result, user: ServiceUser) -> bool:
    if facts.st_uid == user.uid:
        return bool(facts.st_mode & stat.S_IXUSR)
    if facts.st_gid == user.gid:
        return bool(facts.st_mode & stat.S_IXGRP)
    return bool(facts.st_mode & stat.S_IXOTH)


def within_reach(site: Path, parts: Sequence[str], name: str, user: ServiceUser | None) -> Path:
    """Return `site`, or a copy of its `parts` below `MACHINE_STATE` when `user` cannot reach it.

    A checkout under root's 0700 home is the common case. Its folders are never opened up:
    that is the owner's decision. `name` must carry the version, as copies are made once.
    """
    if can_reach((site / parts[0]).resolve(), user):
        return site
    copy = MACHINE_STATE / name
    if not copy.exists():
        MACHINE_STATE.mkdir(mode=0o755, parents=True, exist_ok=True)
        draft = MACHINE_STATE / f".{name}.{secrets.token_hex(4)}"
        skip = shutil.ignore_patterns("include", "*.a", "__pycache__")
        for part in parts:
            shutil.copytree(site / part, draft / part, symlinks=True, ignore=skip)
        for path in (draft, *draft.rglob("*")):
            if not path.is_symlink():
                executable = path.is_dir() or path.stat().st_mode & stat.S_IXUSR
                path.chmod(0o755 if executable else 0o644)
        try:
            draft.rename(copy)
        except OSError:  # another launcher was faster; its copy is as good
            shutil.rmtree(draft)
    return copy


def make_folder(path: Path, user: ServiceUser | None, mode: int = 0o700) -> Path:
    """Make a folder (parents 0755) that belongs to `user`, or to us."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.mkdir(mode=mode, exist_ok=True)
    give(path, user)
    return path


def give(path: Path, user: ServiceUser | None) -> None:
    """Hand one file or folder over to `user`; nothing to do when we are not root."""
    if user is not None:
        os.chown(path, user.uid, user.gid)


def write_private(path: Path, text: str, user: ServiceUser | None = None) -> None:
    """Write a file of mode 0600 so that a reader sees the old text or the new, never half."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    give(draft, user)
    draft.replace(path)


def free_port() -> int:
    """Return a loopback port that nothing listens on now."""
    while True:
        port = secrets.choice(_PORTS)
        if is_free(port):
            return port


def is_free(port: int) -> bool:
    """Tell whether a server could listen on this loopback port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def is_alive(pid: int) -> bool:
    """Tell whether a process runs. A zombie does not: PID 1 of a container may never reap it."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    with suppress(OSError):
        # The name may hold spaces and brackets; the state is the first word behind it.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return True


def die_with_parent(death_signal: signal.Signals) -> Callable[[], None] | None:
    """Return what a new child runs before its program starts, so that it outlives nobody.

    The kernel sends `death_signal` when the *thread* that made the child ends, hence the
    launcher keeps a single thread, and a child of a passing thread gets none. None also where
    the kernel has no such thing; there, and for children that ignore the signal, the guard
    process steps in.
    """
    if sys.platform != "linux" or threading.current_thread() is not threading.main_thread():
        return None
    libc = ctypes.CDLL(None, use_errno=True)
    parent = os.getpid()

    def arm() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, int(death_signal))
        if os.getppid() != parent:  # it died between fork and here
            os._exit(1)

    return arm
