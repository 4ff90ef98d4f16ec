"""`serve`: the HTTP API."""

from __future__ import annotations

import argparse
import logging
import signal
import socket

import uvicorn
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

from ledger_service.api.protocol import BoundedProtocol
from ledger_service.generations.document import load_document
from ledger_service.settings import read_settings
from ledger_service.store.boot import check_boot

DRAIN_SECONDS = 10
KEEP_ALIVE_SECONDS = 75
"""Longer than clients and proxies keep idle connections, so that they are the ones to close."""
LISTENERS = 32
"""Connections that are accepted in one turn of the event loop. With one, the last of 250 clients
that came while it was busy waited for two seconds."""
LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s %(message)s"


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = commands.add_parser("serve", help="serve the HTTP API")
    parser.add_argument("--host", help="address to listen on (LEDGER_HOST)")
    parser.add_argument("--port", type=int, help="port to listen on (LEDGER_PORT)")
    parser.add_argument("--workers", type=int, default=1, help="processes that serve")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Check that this is a place to keep money in, then serve until SIGTERM or SIGINT."""
    settings = read_settings()
    settings.master_key()
    settings.signing_secret()
    settings.key_set_url()
    load_document(settings.catalogue_file)
    check_boot(settings.database_url)
    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT)
    logging.getLogger("psycopg.pool").setLevel(logging.ERROR)  # an outage is told by /health/ready
    # uvicorn raises the signal again when all is done; an orderly end is a success.
    signal.signal(signal.SIGTERM, lambda *_: None)
    config = uvicorn.Config(
        "ledger_service.app:create_app",
        factory=True,
        host=options.host or settings.ledger_host,
        port=settings.ledger_port if options.port is None else options.port,
        workers=options.workers,
        loop="uvloop",
        http=BoundedProtocol,
        ws="none",
        lifespan="on",
        access_log=False,
        server_header=False,
        date_header=True,
        log_config=None,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=DRAIN_SECONDS,
    )
    sockets = _listeners(config)
    if options.workers > 1:
        Multiprocess(config, sockets=sockets).run()
        return 0
    server = uvicorn.Server(config)
    server.run(sockets=sockets)
    return 0 if server.started else STARTUP_FAILURE


def _listeners(config: uvicorn.Config) -> list[socket.socket]:
    """One listening socket, many times: the event loop takes one connection from each per turn,
    and while it is busy a turn lasts long."""
    bound = config.bind_socket()
    return [bound, *[bound.dup() for _ in range(LISTENERS - 1)]]
