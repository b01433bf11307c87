"""Runs one server as a child, and ends it when whoever started the guard is gone.

A script of the standard library alone, with a JSON order as its argument. Its standard input is a pipe from
the starter: end of file, or another parent, means that the starter ended, however it ended. It runs in a
session of its own, so Ctrl-C in a terminal leaves the server to be stopped by its owner, in order.
"""

import ctypes
import json
import os
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

_PR_SET_PDEATHSIG = 1
_PR_SET_KEEPCAPS = 8
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_RAISE = 2
_CAP_DAC_OVERRIDE = 1
_CAPABILITY_VERSION_3 = 0x20080522


def _keep_reach(libc: ctypes.CDLL) -> None:
    """Hand the right to pass closed folders on to the program that follows (root only)."""
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    bit = 1 << _CAP_DAC_OVERRIDE
    sets = (ctypes.c_uint32 * 6)(bit, bit, bit, 0, 0, 0)
    if libc.capset(header, sets) or libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, _CAP_DAC_OVERRIDE, 0, 0):
        os.write(2, b"root without the capability to pass folders that are closed to other users\n")
        os._exit(126)


def _becoming(order: dict[str, Any]) -> Callable[[], None]:
    """What the child does between fork and exec: change its user, and die with the guard where the kernel can."""
    uid, gid, closed = order["uid"], order["gid"], order["closed"]
    death = signal.Signals[order["stop"]]
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    guard = os.getpid()

    def become() -> None:
        if uid is not None:
            if libc and closed:
                libc.prctl(_PR_SET_KEEPCAPS, 1, 0, 0, 0)
            os.setgroups([])
            os.setgid(gid)
            os.setuid(uid)
            if libc and closed:
                _keep_reach(libc)
        if libc:
            # After the change of user: that clears it.
            libc.prctl(_PR_SET_PDEATHSIG, int(death), 0, 0, 0)
        if os.getppid() != guard:
            os._exit(126)

    return become


def _record(path: Path, facts: dict[str, Any]) -> None:
    """Write the state file in one move, so that nobody reads half of it."""
    draft = path.with_suffix(".new")
    draft.write_text(json.dumps(facts), encoding="utf-8")
    draft.replace(path)


def _watch(child: subprocess.Popen[bytes], starter: int, wake: int) -> None:
    """Return when the child ended, the starter is gone, or somebody asks for the end."""
    while child.poll() is None:
        readable, _, _ = select.select([0, wake], [], [], 1.0)
        if os.getppid() != starter:
            return
        if 0 in readable and not os.read(0, 512):
            return
        if wake in readable and signal.SIGTERM in os.read(wake, 512):
            return


def _end(child: subprocess.Popen[bytes], steps: list[tuple[str, float]]) -> None:
    """Ask ever more firmly, each signal with its seconds; the last one cannot be refused."""
    for name, seconds in [*steps, ("SIGKILL", 10.0)]:
        if child.poll() is not None:
            return
        child.send_signal(signal.Signals[name])
        try:
            child.wait(seconds)
        except subprocess.TimeoutExpired:
            continue


def _wakeable() -> int:
    """Turn SIGTERM and SIGCHLD into bytes on a pipe; SIGINT and SIGHUP are for the starter alone."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing)
    for number in (signal.SIGTERM, signal.SIGCHLD):
        signal.signal(number, lambda *_: None)
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    return reading


def main(order: dict[str, Any]) -> int:
    """Run `order`: argv, cwd, env, uid, gid, closed, stop, steps, state, facts, remove, starter."""
    wake = _wakeable()
    state = Path(order["state"]) if order["state"] else None
    child = subprocess.Popen(  # noqa: S603  (the order comes from our own starter)
        order["argv"],
        cwd=order["cwd"],
        env=order["env"],
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr,
        preexec_fn=_becoming(order),  # noqa: PLW1509  (this process has one thread)
    )
    try:
        if state:
            _record(
                state,
                {
                    **order["facts"],
                    "guard": os.getpid(),
                    "pid": child.pid,
                    "stop": order["stop"],
                    "remove": order["remove"],
                },
            )
        _watch(child, order["starter"], wake)
    finally:
        if state:
            state.unlink(missing_ok=True)
        _end(child, order["steps"])
        for folder in order["remove"]:
            shutil.rmtree(folder, ignore_errors=True)
    return child.returncode if child.returncode >= 0 else 128 - child.returncode


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
