"""Every environment variable of the service, its unit and its default."""

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Read from the environment as `OVATION_` plus the field's name; unsafe values are refused."""

    model_config = SettingsConfigDict(env_prefix="OVATION_", frozen=True)

    model: Annotated[Path, Field(description="folder of the bundle to serve")] = Path("models/imdb-bilstm")
    provider: Annotated[
        Literal["auto", "cpu", "cuda"],
        Field(description="`auto` takes CUDA where there is one, else the CPU; `cpu` and `cuda` insist"),
    ] = "auto"
    workers: Annotated[
        int, Field(ge=1, description="processes on the one port, each with a model of its own; see below")
    ] = 1
    threads: Annotated[
        int, Field(ge=0, description="inference threads a worker; 0: a core each (of the container's quota), at most 4")
    ] = 0
    host: Annotated[str, Field(description="address to listen on; `0.0.0.0` for all")] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535, description="port to listen on; 0 for a free one")] = 8000
    max_characters: Annotated[int, Field(ge=1, description="characters a text")] = 100_000
    max_texts: Annotated[int, Field(ge=1, description="texts a batch request")] = 256
    max_body_bytes: Annotated[int, Field(ge=1, description="bytes a request body")] = 4 * 2**20
    max_waiting_texts: Annotated[
        int,
        Field(ge=1, description="texts that may wait; who would make them more is refused with 429, unless none wait"),
    ] = 512
    max_waiting_tokens: Annotated[
        int,
        Field(ge=1, description="tokens that may wait; who would make them more is refused with 429, unless none wait"),
    ] = 262_144
    timeout_seconds: Annotated[
        float,
        Field(gt=0, allow_inf_nan=False, description="seconds a request may take; `X-Request-Timeout-Ms` lowers it"),
    ] = 10.0
    hang_seconds: Annotated[
        float,
        Field(gt=0, allow_inf_nan=False, description="seconds a batch may run before it is interrupted, then given up"),
    ] = 10.0
    pre_stop_seconds: Annotated[
        float,
        Field(ge=0, allow_inf_nan=False, description="seconds of service after SIGTERM, not ready any more"),
    ] = 0.0
    grace_seconds: Annotated[
        int, Field(ge=0, description="seconds that open requests get to finish after that; then they are answered 503")
    ] = 20
    log_format: Annotated[
        Literal["auto", "json", "console"],
        Field(description="`json`, `console` or `auto`: `console` on a terminal, else `json`"),
    ] = "auto"
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"],
        Field(description="least severe lines to write: `debug`, `info`, `warning`, `error`"),
    ] = "info"

    tracing: Annotated[
        Literal["off", "otlp"], Field(description="`otlp` sends spans to `OTEL_EXPORTER_OTLP_ENDPOINT`; see below")
    ] = "off"
    trace_ratio: Annotated[
        float,
        Field(ge=0, le=1, description="share of the requests traced; a caller's `traceparent` decides for itself"),
    ] = 0.1

    @field_validator("tracing")
    @classmethod
    def _installed(cls, tracing: str) -> str:
        if tracing == "otlp":
            try:
                found = find_spec("opentelemetry.sdk") and find_spec("opentelemetry.exporter.otlp.proto.http")
            except ModuleNotFoundError:
                found = None
            if found is None:
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
