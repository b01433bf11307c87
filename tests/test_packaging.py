"""What stands beside the code must not rot: README, glossary, image, compose file, locked requirements."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer.main

import errors
from app import app
from contracts.repairs import COMMANDS
from settings import Settings

ROOT = Path(__file__).parent.parent

# Spelled in halves, so that this file does not find itself.
REGISTRY_HOSTS = [
    "".join(halves)
    for halves in (
        ("py", "pi.org"),
        ("python", "hosted.org"),
        ("registry.", "npm"),
        ("registry.", "yarn"),
        ("maven", ".org"),
        ("maven", ".apache.org"),
        ("docker", ".io"),
        ("ghcr", ".io"),
        ("quay", ".io"),
        ("--index", "-url"),
        ("--extra-index", "-url"),
        ("--trusted", "-host"),
    )
]


def test_the_settings_table_of_the_readme_is_that_of_the_settings() -> None:
    wanted = "\n".join(["| variable | default | meaning |", "|---|---|---|", *map(_row, Settings.model_fields)])

    assert _between("settings", _read("README.md")) == wanted


def test_every_command_that_the_documents_show_exists_with_its_options() -> None:
    shown = [line for file in _documents() for line in re.findall(r"app\.py ([a-z][^`|)\n]*)", _read(file))]

    assert shown
    assert [(line, unknown) for line in shown if (unknown := _unknown(line))] == []


def test_the_readme_has_a_row_for_every_command() -> None:
    commands: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]

    rows = re.findall(r"^\| `app\.py ([a-z]+)` \|", _read("README.md"), re.MULTILINE)

    assert sorted(rows) == sorted(commands)


@pytest.mark.parametrize("table", ["README.md", "docs/glossary.md"])
def test_every_command_of_repair_is_told(table: str) -> None:
    assert [name for name in COMMANDS if f"`{name}`" not in _read(table)] == []


def test_every_target_that_the_documents_show_is_in_the_makefile() -> None:
    targets = set(re.findall(r"^([a-z0-9]+):", _read("Makefile"), re.MULTILINE))
    shown = {
        target
        for file in [*_documents(), ".ci/run"]
        for target in re.findall(r"^\s*make ([a-z0-9]+)", _read(file), re.MULTILINE)
    }

    assert shown
    assert shown <= targets


def test_every_file_that_the_documents_name_is_there() -> None:
    named = re.compile(r"`((?:[a-z_]+/)+[a-z_0-9-]+\.(?:py|md|lock))`|\]\((?!https:)([a-z][^):#]*)")
    broken = [
        (file, name)
        for file in _documents()
        for name in named.findall(_read(file))
        for name in filter(None, name)
        if not (ROOT / name).exists() and not (ROOT / file).parent.joinpath(name).exists()
    ]

    assert broken == []


@pytest.mark.parametrize("reason", [e for e in vars(errors).values() if isinstance(e, type) and hasattr(e, "code")])
def test_the_glossary_tells_what_a_reason_code_waits_for(reason: type[errors.Parked]) -> None:
    waits_for = f"`{reason.waits_for}`" if reason.waits_for else "nothing"

    assert f"| `{reason.code}` | {waits_for} |" in _read("docs/glossary.md")


def test_every_decision_tells_its_context_cost_rejected_options_and_what_would_reopen_it() -> None:
    headings = {
        file.name: re.findall(r"^## (.*)$", file.read_text(), re.MULTILINE)
        for file in (ROOT / "docs" / "decisions").glob("*.md")
    }

    assert headings
    assert set(map(tuple, headings.values())) == {
        ("Context", "Decision", "Cost", "Rejected", "What would make us revisit it")
    }


def test_the_compose_file_sets_only_what_the_settings_know() -> None:
    service = _service("firstbell")
    known = {_variable(name) for name in Settings.model_fields} | {"PGPASSWORD"}  # asyncpg reads that one itself

    assert set(re.findall(r"^      ([A-Z_]+):", service, re.MULTILINE)) <= known


def test_the_compose_file_gives_a_batch_the_time_to_end() -> None:
    seconds = int(re.findall(r"stop_grace_period: (\d+)s", _service("firstbell"))[0])

    # The start at hand, HTTP and the producer take up to 5 s each, the consumers 5 more than their grace.
    assert seconds > 5 + Settings.model_fields["graceful_timeout"].default + 5 + 5 + 5


def test_the_compose_file_holds_no_secret_and_listens_on_loopback_only() -> None:
    compose = _read("docker-compose.yml")

    assert re.findall(r"PASSWORD: (?!\$\{POSTGRES_PASSWORD:\?)", compose) == []
    assert re.findall(r"- (?!127\.0\.0\.1:)[^ ]*:\d+$", compose, re.MULTILINE) == []


def test_the_compose_file_runs_the_kafka_that_the_tests_run() -> None:
    version = re.findall(r"^org\.apache\.kafka:kafka_2\.13:(\S+)", _read("embedded/kafka.lock"), re.MULTILINE)

    assert re.findall(r"image: apache/kafka:(\S+)", _read("docker-compose.yml")) == version


def test_the_image_holds_every_package_that_the_service_imports() -> None:
    packages = set(tomllib.loads(_read("pyproject.toml"))["tool"]["importlinter"]["root_packages"])
    packages = {package for package in packages if (ROOT / package).is_dir()} - {"benches"}

    assert set(re.findall(r"^COPY (\w+) /opt/firstbell/\1$", _read("Dockerfile"), re.MULTILINE)) == packages
    assert {f"!{package}" for package in packages} <= set(_read(".dockerignore").splitlines())


def test_the_production_requirements_are_a_part_of_all_with_the_same_versions_and_hashes() -> None:
    production, everything = _locked("requirements-production.lock"), _locked("requirements.lock")

    assert production.items() <= everything.items()
    assert len(everything) == len(
        re.findall(r"^\S+==", _read("requirements.lock"), re.MULTILINE)
    )  # none without a hash


def test_the_production_requirements_hold_what_the_service_needs_and_no_servers() -> None:
    project = tomllib.loads(_read("pyproject.toml"))["project"]
    names = {_name(requirement) for requirement in _locked("requirements-production.lock")}

    assert {_name(dependency) for dependency in project["dependencies"]} <= names
    assert not {_name(extra) for extra in project["optional-dependencies"]["embedded"]} & names


def test_no_file_names_the_host_of_a_package_registry() -> None:
    texts = {file: file.read_text(errors="replace") for file in _files()}

    assert [(file.name, host) for file, text in texts.items() for host in REGISTRY_HOSTS if host in text] == []


def _read(name: str) -> str:
    return (ROOT / name).read_text()


def _documents() -> list[str]:
    return ["README.md", *(str(file.relative_to(ROOT)) for file in sorted((ROOT / "docs").rglob("*.md")))]


def _files() -> list[Path]:
    """What a clone holds, more or less: whatever lies in no folder that tools or servers make."""
    files = [file.relative_to(ROOT) for pattern in ("*", "[!.]*/**/*", ".ci/*") for file in ROOT.glob(pattern)]
    made = [file for file in files if any(part[0] == "." for part in file.parts[1:-1]) or "node_modules" in file.parts]
    return [ROOT / file for file in sorted({*files} - {*made}) if (ROOT / file).is_file()]


def _between(mark: str, text: str) -> str:
    return text.split(f"<!-- {mark} -->\n")[1].split(f"\n<!-- end of {mark} -->", maxsplit=1)[0]


def _service(name: str) -> str:
    """The lines of one service of the compose file."""
    return re.findall(rf"^  {name}:\n((?:(?:    .*)?\n)+)", _read("docker-compose.yml"), re.MULTILINE)[0]  # type: ignore[no-any-return]


def _unknown(line: str) -> list[str]:
    """What the command line does not know of a line behind `app.py`: a command or subcommand, else options of it."""
    command: Any = typer.main.get_command(app)
    for word in line.split():
        if not hasattr(command, "commands") or word.startswith("-"):
            break
        if word not in command.commands:
            return [word]
        command = command.commands[word]
    return [option for option in re.findall(r"(?<!\S)--[a-z-]+", line) if option not in _options(command)]


def _options(command: Any) -> set[str]:
    return {"--help"} | {option for parameter in command.params for option in parameter.opts}


def _variable(field: str) -> str:
    alias: Any = Settings.model_fields[field].validation_alias
    return str(alias.choices[0]) if alias else f"FIRSTBELL_{field.upper()}"


def _row(field: str) -> str:
    info = Settings.model_fields[field]
    default = str(info.default.relative_to(ROOT) if isinstance(info.default, Path) else info.default)
    return f"| `{_variable(field)}` | {f'`{default}`' if info.default not in {None, ''} else ''} | {info.description} |"


def _locked(name: str) -> dict[str, frozenset[str]]:
    """The hashes of each `name==version ; marker` of a lock file."""
    requirements = re.findall(r"^(\S+==[^\\\n]*)((?:\\\n\s+--hash=\S+\s*)+)", _read(name), re.MULTILINE)
    return {pinned.strip(): frozenset(re.findall(r"sha256:[0-9a-f]{64}", hashes)) for pinned, hashes in requirements}


def _name(requirement: str) -> str:
    return re.split(r"[^A-Za-z0-9_.-]", requirement)[0].lower().replace("_", "-")
