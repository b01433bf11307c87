"""What is left for `where` to find, and what may be shown of it."""

from pathlib import Path

import pytest

from addresses import known, masked, running_here


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("postgresql://u:secret@db:5432/f", "postgresql://u:***@db:5432/f"),
        ("postgresql://u:se:cr@et@db/f?sslmode=require", "postgresql://u:***@db/f?sslmode=require"),
        ("postgresql://u@/f?host=/run/pg&password=secret", "postgresql://u@/f?host=/run/pg&password=***"),
        ("postgresql://postgres@/firstbell?host=/tmp/sockets", "postgresql://postgres@/firstbell?host=/tmp/sockets"),
        (
            "postgresql://u:secret@db/f?application_name=a@b&sslpassword=s",
            "postgresql://u:***@db/f?application_name=a@b&sslpassword=***",
        ),
        ("127.0.0.1:9092", "127.0.0.1:9092"),
    ],
)
def test_a_password_is_never_shown(address: str, shown: str) -> None:
    assert masked(address) == shown


def test_the_addresses_are_readable_by_their_owner_only_and_gone_in_the_end(tmp_path: Path) -> None:
    with known(tmp_path, {"http": "http://127.0.0.1:1"}):
        (file,) = (tmp_path / "run").iterdir()
        mode = file.stat().st_mode & 0o777

    assert mode == 0o600
    assert list((tmp_path / "run").iterdir()) == []


def test_what_a_killed_service_left_behind_is_no_service(tmp_path: Path) -> None:
    with known(tmp_path, {"http": "http://127.0.0.1:1"}):
        found = running_here(tmp_path)

    assert found is None
