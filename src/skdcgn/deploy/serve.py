"""``skdcgn serve``: a CGN as a service over HTTP, by the protocol of :mod:`skdcgn.cgn.wire`.

It is the reference server of :class:`skdcgn.teachers.remote.HttpTeacher`. Queries are answered one at a time, in a
thread; the next is received meanwhile. A query that is repeated with the same ``Idempotency-Key`` is computed again and
counted once. Needs ``pip install 'skdcgn[serve]'``.
"""

import importlib.util
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from skdcgn.base.errors import UserError, escaped
from skdcgn.base.progress import logger
from skdcgn.cgn.mechanism import Teacher
from skdcgn.teachers.http_address import TOKEN, is_loopback

if TYPE_CHECKING:
    from uvicorn import Server

HOST, PORT, BATCH = "127.0.0.1", 8000, 256
PACKAGES = ("fastapi", "uvicorn")
CONNECTIONS = 128
ENDING = 1  # seconds that requests have to end when the service ends


def serve(
    teacher: Teacher,
    *,
    host: str = HOST,
    port: int = PORT,
    batch: int = BATCH,
    fail: float = 0.0,
    seed: int = 0,
    tell: Callable[[str], None] = print,
) -> None:
    """Serve a CGN until a signal ends the program. With ``SKDCGN_TOKEN`` set, requests must have that token.

    Args:
        teacher: any CGN.
        host: address to listen at; the default is reached from this machine alone.
        port: 0 takes a free one.
        batch: most pairs in one query.
        fail: share of queries that fail, up to 0.5, for tests of clients; see :mod:`skdcgn.deploy.serve_faults`.
        seed: of the failures.
        tell: takes the address when the service listens.

    Raises:
        UserError: the packages of ``skdcgn[serve]`` are missing, or the port cannot be listened at.
    """
    with closing(_listening(host, port)) as listener:
        server, address = _server(teacher, batch, fail, seed), _address(listener)
        if not is_loopback(address) and not _token():
            logger.warning("%s answers anybody who reaches it: set %s to ask for a token", address, TOKEN)
        tell(address)
        server.run([listener])


@contextmanager
def serving(teacher: Teacher, *, batch: int = BATCH, fail: float = 0.0, seed: int = 0) -> Iterator[str]:
    """Serve a CGN on a free port of this machine, in a thread, for the block; yield its address.

    Args:
        Others: see :func:`serve`.
    """
    with closing(_listening(HOST, 0)) as listener:
        server = _server(teacher, batch, fail, seed)
        thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        try:
            while not server.started and thread.is_alive():
                time.sleep(0.005)
            yield _address(listener)
        finally:
            server.should_exit = True
            thread.join()


def _server(teacher: Teacher, batch: int, fail: float, seed: int) -> "Server":
    _need_packages()
    from uvicorn import Config, Server

    from skdcgn.deploy.serve_app import create_app
    from skdcgn.deploy.serve_book import Book
    from skdcgn.deploy.serve_faults import Faults, Faulty

    book = Book()
    config = Config(
        Faulty(create_app(teacher, book, batch=batch, token=_token()), Faults(fail, seed), book),
        log_config=None,
        log_level="critical" if fail else "error",
        access_log=False,
        proxy_headers=False,
        lifespan="off",
        ws="none",
        limit_concurrency=CONNECTIONS,
        timeout_graceful_shutdown=ENDING,
    )
    return Server(config)


def _need_packages() -> None:
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(f"serve needs {' and '.join(missing)}: pip install 'skdcgn[serve]'")


def _token() -> str | None:
    return os.environ.get(TOKEN, "").strip() or None


def _listening(host: str, port: int) -> socket.socket:
    try:
        listener = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # else an answer waits 40 ms for its own head
        return listener
    except (OSError, UnicodeError) as error:
        number = error.errno if isinstance(error, OSError) else None
        reason = os.strerror(number) if number and number > 0 else "no address of this machine"
        raise UserError(
            f"cannot listen at port {port} of {escaped(host)} ({reason}): pass another --port (0 takes a free one) or "
            "--host"
        ) from None


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
