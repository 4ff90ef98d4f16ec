"""``python -m deploy.emulators.fal``: serve the emulator until SIGINT or SIGTERM."""

from __future__ import annotations

import argparse
import os
import socket
from importlib.util import find_spec
from pathlib import Path
from typing import Any, get_args

import uvicorn

from deploy.emulators.fal.app import create_app
from deploy.emulators.fal.assumptions import Assumptions
from deploy.emulators.fal.assumptions import parse as parse_assumptions
from deploy.emulators.fal.chaos import Chaos
from deploy.emulators.fal.chaos import parse as parse_chaos
from deploy.emulators.fal.inputs import Fetching
from deploy.emulators.fal.settings import Settings
from deploy.emulators.fal.wire import CuttableProtocol


def chaos(text: str) -> Chaos:
    """The value of ``--chaos``."""
    try:
        return parse_chaos(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def assumptions(texts: list[str]) -> Assumptions:
    """The values of ``--assume``."""
    try:
        return parse_assumptions(texts)
    except ValueError as error:
        raise SystemExit(f"--assume: {error}") from error


def parser() -> argparse.ArgumentParser:
    """The command line; every default is that of `Settings`."""
    arguments = argparse.ArgumentParser(
        prog="python -m deploy.emulators.fal",
        description="An emulator of fal.ai's queue. GET /admin shows jobs and directives.",
    )
    add = arguments.add_argument
    add("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    add("--port", type=int, default=0, help="port to listen on; 0 picks a free one (%(default)s)")
    add("--tls-certificate", type=Path, help="speak https: the certificate and its chain, in PEM")
    add("--tls-key", type=Path, help="its private key, in PEM; needs --tls-certificate")
    add("--state-dir", type=Path, required=True, help="where jobs and the signing key are kept")
    add("--key", action="append", default=[], help="accepted API key, repeatable (default: any)")
    add("--admin-key", action="append", default=[], help="admin key, repeatable (default: any)")
    add("--concurrency", type=int, default=2, help="jobs in progress per key (%(default)s)")
    add("--job-seconds", type=float, default=1.0, help="length of an ordinary job (%(default)s)")
    add("--result-seconds", type=float, default=3600, help="life of a result (%(default)s)")
    add("--stored-seconds", type=float, default=0, help="its life where stored (%(default)s)")
    add("--balance-usd", type=float, default=1e6, help="prepaid by each key (%(default)s)")
    add("--clock", choices=("real", "virtual"), default="real", help="virtual stands still")
    add("--chaos", type=chaos, metavar="SEED[:RATE]", help="a misbehaviour for each submit")
    add("--render", action="store_true", help="media of the size asked for; needs PyAV")
    add("--webhook-backoff-seconds", type=float, default=1.0, help="first pause (%(default)s)")
    add("--allow-loopback-webhooks", action="store_true", help="deliver to 127.0.0.0/8, ::1 too")
    add("--assume", action="append", default=[], metavar="NAME=CHOICE", help="an open point")
    add("--fetch-inputs", choices=get_args(Fetching), default="local", help="files looked at")
    add("--ready-file", type=Path, help="gets the base URL once requests are served")
    return arguments


class AnnouncingServer(uvicorn.Server):
    """Says where it listens once it does, which a test with port 0 must be told."""

    def __init__(self, config: uvicorn.Config, url: str, ready_file: Path | None) -> None:
        super().__init__(config)
        self._url = url
        self._ready_file = ready_file

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """uvicorn's hook: start, then announce."""
        await super().startup(sockets=sockets)
        if not self.started:
            return
        print(f"fal emulator: {self._url}", flush=True)
        if self._ready_file is not None:
            draft = self._ready_file.with_name(self._ready_file.name + ".new")
            draft.write_text(self._url + "\n")
            os.replace(draft, self._ready_file)


def settings_from(options: argparse.Namespace) -> Settings:
    """The command line's share in how the emulator behaves."""
    return Settings(
        state_dir=options.state_dir,
        keys=tuple(options.key),
        admin_keys=tuple(options.admin_key),
        concurrency=options.concurrency,
        job_seconds=options.job_seconds,
        result_seconds=options.result_seconds,
        stored_seconds=options.stored_seconds,
        balance_usd=options.balance_usd,
        virtual_clock=options.clock == "virtual",
        chaos=options.chaos,
        render=options.render,
        webhook_backoff_seconds=options.webhook_backoff_seconds,
        assumptions=assumptions(options.assume),
        fetch_inputs=options.fetch_inputs,
        allow_loopback_webhooks=options.allow_loopback_webhooks,
    )


def main() -> None:
    """Bind first, so that a taken port fails before anything else happens; then serve."""
    if not __debug__:
        raise SystemExit("refusing to run under -O: assertions guard this program")
    arguments = parser()
    options = arguments.parse_args()
    if (options.tls_certificate is None) is not (options.tls_key is None):
        arguments.error("--tls-certificate and --tls-key go together")
    if options.render and find_spec("av") is None:
        arguments.error("--render needs PyAV: pip install av")
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    with socket.socket(family) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((options.host, options.port))
        app: Any = create_app(settings_from(options))
        config = uvicorn.Config(
            app,
            loop="uvloop",
            http=CuttableProtocol,
            access_log=False,
            log_level="warning",
            server_header=False,  # a gateway's page has one of its own
            # Held connections of lost submits would otherwise keep a stopping process alive.
            timeout_graceful_shutdown=1,
            ssl_certfile=options.tls_certificate,
            ssl_keyfile=options.tls_key,
        )
        host = f"[{options.host}]" if ":" in options.host else options.host
        scheme = "https" if config.is_ssl else "http"
        url = f"{scheme}://{host}:{listener.getsockname()[1]}"
        AnnouncingServer(config, url, options.ready_file).run(sockets=[listener])


if __name__ == "__main__":
    main()
