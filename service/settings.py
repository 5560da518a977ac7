"""Every environment variable of the service, its unit and its default."""

import re
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

OFF = "off"  # the value of a setting that is not used
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://(?:[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?")
_HOST = re.compile(r"[a-z0-9._-]+|\[[0-9a-f:.]+\]")
_DEFAULT_PORTS = {"http": 80, "https": 443}


class Settings(BaseSettings):
    """Read from the environment as `OVATION_` plus the field's name; unsafe values are refused."""

    model_config = SettingsConfigDict(env_prefix="OVATION_", frozen=True)

    model: Annotated[Path, Field(description="folder of the bundle to serve")] = Path("models/reviews-bilstm")
    provider: Annotated[
        Literal["auto", "cpu", "cuda"],
        Field(description="`auto` uses CUDA where it works, else the CPU; `cpu` and `cuda` allow no other"),
    ] = "auto"
    workers: Annotated[int, Field(ge=1, description="processes that share the port, each with its own model")] = 1
    threads: Annotated[
        int,
        Field(ge=0, description="inference threads per worker; `0`: the cores divided by the workers, from 1 to 4"),
    ] = 0
    host: Annotated[str, Field(description="address to listen on; `0.0.0.0` for all addresses")] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535, description="port to listen on; `0` for any free port")] = 8000
    max_characters: Annotated[int, Field(ge=1, description="most characters in a text")] = 100_000
    max_texts: Annotated[int, Field(ge=1, description="most texts in a batch request")] = 256
    max_body_bytes: Annotated[int, Field(ge=1, description="most bytes in a request body")] = 4 * 2**20
    max_waiting_texts: Annotated[
        int,
        Field(
            ge=1,
            description="most texts in the queue; a request that would exceed it gets 429, unless the queue is empty",
        ),
    ] = 512
    max_waiting_tokens: Annotated[
        int,
        Field(
            ge=1,
            description="most tokens in the queue; a request that would exceed it gets 429, unless the queue is empty",
        ),
    ] = 262_144
    max_held_bytes: Annotated[
        int, Field(ge=1, description="bytes of bodies and of answers not yet taken, of all callers together")
    ] = 64 * 2**20
    max_connections: Annotated[
        int, Field(ge=1, description="connections a worker; fewer where the limit of open files demands it")
    ] = 2000
    keep_alive_seconds: Annotated[
        float,
        Field(
            gt=0,
            allow_inf_nan=False,
            description="seconds a connection stays open without a request, or a stream without a line",
        ),
    ] = 75.0
    cors_origins: Annotated[
        str,
        Field(
            description="origins whose web pages may call the service, separated by commas, such as "
            "`https://shop.example`; `*` for all, `off` for none but its own"
        ),
    ] = OFF
    allowed_hosts: Annotated[
        str,
        Field(
            description="names in `Host` by which the service may be asked, separated by commas, such as "
            "`sentiment.example,localhost`; `*` for any"
        ),
    ] = "*"
    api_keys: Annotated[
        str,
        Field(
            repr=False,
            description="keys of callers, separated by commas, each `name=key` or a bare key; `off`: no key is needed",
        ),
    ] = OFF
    api_keys_file: Annotated[
        str, Field(description="file with more of them, as `ovation keys new` makes it; read again when it changes")
    ] = OFF
    key_tokens_per_second: Annotated[
        float,
        Field(
            ge=0,
            allow_inf_nan=False,
            description="tokens a second in each worker for a key that has no limit of its own; `0`: no limit",
        ),
    ] = 0.0
    admin_keys: Annotated[
        str, Field(repr=False, description="the same for `/admin`, which is not there without; they open all routes")
    ] = OFF
    admin_keys_file: Annotated[str, Field(description="file with more of them")] = OFF
    metrics_need_key: Annotated[bool, Field(description="`/metrics` needs a key, too, where there are keys")] = False
    docs_need_key: Annotated[bool, Field(description="so does `/openapi.json`, which `/docs` shows")] = False
    timeout_seconds: Annotated[
        float,
        Field(gt=0, allow_inf_nan=False, description="seconds for a request; `X-Request-Timeout-Ms` can only lower it"),
    ] = 10.0
    hang_seconds: Annotated[
        float,
        Field(
            gt=0,
            allow_inf_nan=False,
            description="seconds until a batch is interrupted; if it runs 1 s longer, the process ends with code 70",
        ),
    ] = 10.0
    inspect: Annotated[
        Literal["on", "off"],
        Field(description="`on` answers `POST /inspect`, which computes in Python what the LSTM does along a text"),
    ] = "on"
    pre_stop_seconds: Annotated[
        float,
        Field(
            ge=0,
            allow_inf_nan=False,
            description="seconds after SIGTERM in which requests are still accepted, though `/health/ready` says 503",
        ),
    ] = 0.0
    grace_seconds: Annotated[
        int, Field(ge=0, description="seconds after that for open requests to finish; then they get 503")
    ] = 20
    log_format: Annotated[
        Literal["auto", "json", "console"],
        Field(description="`json`, `console` or `auto`: `console` on a terminal, else `json`"),
    ] = "auto"
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"],
        Field(description="least severe level that is logged: `debug`, `info`, `warning` or `error`"),
    ] = "info"

    tracing: Annotated[
        Literal["off", "otlp"], Field(description="`otlp` sends spans to `OTEL_EXPORTER_OTLP_ENDPOINT`")
    ] = "off"
    trace_ratio: Annotated[
        float,
        Field(ge=0, le=1, description="share of requests to trace; a `traceparent` header decides for its own request"),
    ] = 0.1

    @property
    def allowed_origins(self) -> list[str]:
        """The origins in `cors_origins`, or "*" alone."""
        return [] if self.cors_origins == "off" else self.cors_origins.split(",")

    @field_validator("cors_origins")
    @classmethod
    def _origins(cls, listed: str) -> str:
        if listed.strip() in ("", "off", "*"):
            return listed.strip() or "off"
        origins = [origin.strip().lower() for origin in listed.split(",")]
        for origin in origins:
            parts = urlsplit(origin) if _ORIGIN.fullmatch(origin) else None
            if parts is None or parts.netloc.endswith(f":{_DEFAULT_PORTS.get(parts.scheme)}"):
                raise ValueError(
                    "expected `off`, `*` or origins as browsers send them, separated by commas, such as "
                    "https://shop.example,http://localhost:3000 (no path, no slash at the end, no default port), "
                    f"found {origin!r}"
                )
        return ",".join(origins)

    @property
    def hosts(self) -> list[str]:
        """The names in `allowed_hosts`, or "*" alone."""
        return self.allowed_hosts.split(",")

    @field_validator("allowed_hosts")
    @classmethod
    def _hosts(cls, listed: str) -> str:
        hosts = [host.strip().lower() for host in listed.split(",")]
        if hosts != ["*"] and not all(map(_HOST.fullmatch, hosts)):
            raise ValueError(
                "expected `*` or host names or addresses without scheme and port, separated by commas, such as "
                "sentiment.example,127.0.0.1,[::1], found something else"
            )
        return ",".join(hosts)

    @field_validator("tracing")
    @classmethod
    def _installed(cls, tracing: str) -> str:
        if tracing == "otlp":
            try:
                spec = find_spec("opentelemetry.sdk") and find_spec("opentelemetry.exporter.otlp.proto.http")
            except ModuleNotFoundError:
                spec = None
            if spec is None:
                raise ValueError(
                    "expected the extra `tracing`, found no OpenTelemetry: pip install -r requirements/tracing.txt"
                )
        return tracing

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.max_texts > self.max_waiting_texts:
            raise ValueError(
                f"expected OVATION_MAX_TEXTS <= OVATION_MAX_WAITING_TEXTS (a larger batch could never be admitted), "
                f"found {self.max_texts} > {self.max_waiting_texts}"
            )
        return self
