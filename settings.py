"""Every setting, frozen, with its unit, its default and the reason for it.

The conventional names of the environment are kept (DATABASE_URL, KAFKA_*, LOG_*, PORT); all else is
FIRSTBELL_*.
"""

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, AliasChoices, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from domain.clocks import zone_names

# A key of commands. A comma ends it; what is no visible ASCII looks different to every program that signs.
_KEY = re.compile(r"(?P<id>[A-Za-z0-9._-]{1,64}):(?P<secret>[!-+\--~]{32,})")


def _known_zone(zone: str) -> str:
    if zone not in zone_names():
        msg = "expected an IANA time zone, such as Asia/Kolkata"
        raise ValueError(msg)
    return zone


def _postgresql(address: SecretStr) -> SecretStr:
    if not address.get_secret_value().startswith(("postgresql://", "postgres://")):
        msg = "expected an address such as postgresql://user@host:5432/database"
        raise ValueError(msg)
    return address


def _keys(listed: SecretStr) -> SecretStr:
    _keys_of(listed.get_secret_value())
    return listed


def _keys_of(listed: str) -> dict[str, bytes]:
    keys: dict[str, bytes] = {}
    for entry in listed.split(","):
        match = _KEY.fullmatch(entry.strip())
        if match is None:
            msg = (
                "expected id:secret, comma-separated: ids of 1 to 64 characters out of A-Z, a-z, 0-9, '.', '_' "
                "and '-', secrets of 32 or more visible ASCII characters other than a comma"
            )
            raise ValueError(msg)
        if match["id"] in keys:
            msg = f"the key id {match['id']} is there more than once"
            raise ValueError(msg)
        keys[match["id"]] = match["secret"].encode()
    return keys


def _conventional(name: str) -> AliasChoices:
    return AliasChoices(name, f"FIRSTBELL_{name}")


class Settings(BaseSettings):
    """The settings of one process, from the environment."""

    model_config = SettingsConfigDict(
        env_prefix="FIRSTBELL_",
        frozen=True,
        env_ignore_empty=True,
        populate_by_name=True,
        hide_input_in_errors=True,  # an address or a key that is refused holds a secret all the same
    )

    kafka_bootstrap_servers: str | None = Field(
        None,
        validation_alias=_conventional("KAFKA_BOOTSTRAP_SERVERS"),
        pattern=r"^[^\s:,]+:\d{1,5}(,[^\s:,]+:\d{1,5})*$",
        description="host:port, comma-separated. Not set: a broker of our own is started.",
    )
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT",
        validation_alias=_conventional("KAFKA_SECURITY_PROTOCOL"),
        description="SASL_SSL outside of a private network.",
    )
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        "SCRAM-SHA-512", validation_alias=_conventional("KAFKA_SASL_MECHANISM"), description="The strongest one."
    )
    kafka_sasl_username: str | None = Field(
        None, validation_alias=_conventional("KAFKA_SASL_USERNAME"), description="Needed with SASL_*."
    )
    kafka_sasl_password: SecretStr | None = Field(
        None, validation_alias=_conventional("KAFKA_SASL_PASSWORD"), description="Needed with SASL_*; never logged."
    )
    kafka_ssl_cafile: Path | None = Field(
        None, validation_alias=_conventional("KAFKA_SSL_CAFILE"), description="Not set: the system's authorities."
    )
    database_url: Annotated[SecretStr, AfterValidator(_postgresql)] | None = Field(
        None,
        validation_alias=_conventional("DATABASE_URL"),
        description="Any postgresql:// address. Not set: a server of our own is started.",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", validation_alias=_conventional("LOG_LEVEL"), description="One line a batch at INFO."
    )
    log_format: Literal["auto", "json", "console"] = Field(
        "auto", validation_alias=_conventional("LOG_FORMAT"), description="auto: json unless it goes to a terminal."
    )
    port: int = Field(
        8080,
        ge=0,
        le=65535,
        validation_alias=_conventional("PORT"),
        description="HTTP port; any free one when it is taken and was not set.",
    )
    host: str = Field("127.0.0.1", description="HTTP address. Loopback, until somebody decides otherwise.")
    home: Path = Field(
        Path(__file__).parent / ".firstbell", description="Where the servers of our own keep their data."
    )
    traces: bool = Field(
        False,
        description="Send OpenTelemetry traces where OTEL_EXPORTER_OTLP_ENDPOINT says; needs the extra `tracing`.",
    )

    topic_prefix: str = Field(
        "", pattern=r"^[A-Za-z0-9._-]*$", description="Before every topic and group of a shared Kafka."
    )
    partitions: int = Field(6, ge=1, description="Partitions of a new topic: the most workers that can share it.")
    replication_factor: int = Field(1, ge=1, description="Replicas of a new topic; 3 in production.")
    retention_days: int = Field(
        30, ge=1, description="Days that topics keep a record; lag that nears it loses purchases."
    )

    repair_keys: Annotated[SecretStr, AfterValidator(_keys)] | None = Field(
        None,
        description="id:secret,id2:secret2 that commands are signed with, by the first. Not set: anybody's count.",
    )

    max_records: int = Field(1000, ge=1, description="Records in a batch: the fastest of 100 to 2,000, measured.")
    poll_ms: int = Field(10, ge=1, description="Pause of an idle poll; 200 made a hop ten times slower.")
    session_timeout_ms: int = Field(10_000, ge=6_000, description="After it a dead worker's partitions move on.")
    rebalance_timeout_ms: int = Field(60_000, ge=10_000, description="Longer than the longest batch with its pauses.")
    graceful_timeout: float = Field(25.0, gt=0, description="Seconds a batch may take to end when the service stops.")
    sweep_seconds: float = Field(60.0, gt=0, description="Seconds between looks for purchases that are stuck.")
    stuck_after: float = Field(
        60.0, gt=0, description="Seconds after which a step that nothing unread will do counts as stuck."
    )
    check_seconds: float = Field(
        300.0, gt=0, description="Seconds between checks of all invariants, which read whole tables."
    )
    probe_after: float = Field(30.0, gt=0, description="Seconds between tries of an actor whose fuse has tripped.")

    default_timezone: Annotated[str, AfterValidator(_known_zone)] = Field(
        "Asia/Kolkata", description="The wall clock of students whose zone nobody told us."
    )
    weight_per_km: float = Field(1.0, ge=0, description="Cost of a trainer for each kilometre of way.")
    weight_per_series: float = Field(2.0, ge=0, description="Cost of a trainer for each series he teaches already.")

    @property
    def signing_keys(self) -> dict[str, bytes]:
        """The secrets of commands by key id; the first one signs. Empty: commands need no signature."""
        return _keys_of(self.repair_keys.get_secret_value()) if self.repair_keys else {}
