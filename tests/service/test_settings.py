"""Settings: what the environment says, and what is refused."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from service.settings import Settings


def test_each_setting_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    said = {
        "model": "elsewhere", "provider": "cpu", "host": "0.0.0.0", "port": "0", "max_characters": "10",
        "max_texts": "2", "max_body_bytes": "100", "max_waiting_texts": "3", "timeout_seconds": "0.5",
        "cors_origins": "https://a.example,http://localhost:3000",
        "allowed_hosts": "a.example,[::1]", "api_keys": "shop=abc", "api_keys_file": "keys",
        "key_tokens_per_second": "2.5", "admin_keys": "def",
        "admin_keys_file": "admins", "metrics_need_key": "True", "docs_need_key": "True",
        "max_held_bytes": "1000", "max_connections": "7", "keep_alive_seconds": "1.5",
        "workers": "3", "threads": "2", "max_waiting_tokens": "999", "hang_seconds": "2.5", "pre_stop_seconds": "1.5",
        "grace_seconds": "0", "log_format": "console", "log_level": "debug", "tracing": "otlp", "trace_ratio": "0.5",
        "inspect": "off",
    }  # fmt: skip
    assert set(said) == set(Settings.model_fields)
    for name, value in said.items():
        monkeypatch.setenv(f"OVATION_{name.upper()}", value)
    settings = Settings()
    assert {name: str(getattr(settings, name)) for name in said} == said
    assert settings.model == Path("elsewhere")
    with pytest.raises(ValidationError, match="frozen"):
        settings.port = 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("provider", "tpu"),
        ("port", "65536"),
        ("max_characters", "0"),
        ("max_texts", "513"),  # more than may wait
        ("max_waiting_texts", "255"),  # fewer than a batch may hold
        ("timeout_seconds", "0"),
        ("timeout_seconds", "inf"),
        ("timeout_seconds", "nan"),
        ("grace_seconds", "-1"),
        ("workers", "0"),
        ("threads", "-1"),
        ("max_waiting_tokens", "0"),
        ("hang_seconds", "0"),
        ("pre_stop_seconds", "inf"),
        ("log_format", "xml"),
        ("log_level", "loud"),
        ("cors_origins", "https://a.example/"),
        ("cors_origins", "https://a.example, b.example"),
        ("cors_origins", "https://a.example:443"),
        ("cors_origins", "https://*.a.example"),
        ("cors_origins", "https://a.example,*"),
        ("cors_origins", "null"),
        ("allowed_hosts", ""),
        ("allowed_hosts", "http://a.example"),
        ("allowed_hosts", "a.example:8000"),
        ("allowed_hosts", "a.example,*"),
        ("key_tokens_per_second", "-1"),
        ("key_tokens_per_second", "inf"),
    ],
)
def test_unsafe_values_are_refused(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"OVATION_{name.upper()}", value)
    with pytest.raises(ValidationError):
        Settings()


@pytest.mark.parametrize(
    ("said", "allowed"),
    [
        ("off", []),
        ("", []),  # as a template leaves it where it has no value
        ("*", ["*"]),
        (" HTTPS://A.example ,http://[::1]:3000", ["https://a.example", "http://[::1]:3000"]),
    ],
)
def test_origins(said: str, allowed: list[str]) -> None:
    assert Settings(cors_origins=said).allowed_origins == allowed


def test_a_refused_origin_is_told_with_what_was_expected() -> None:
    with pytest.raises(ValidationError, match=r"no slash at the end, no default port\), found 'https://a.example/'"):
        Settings(cors_origins="https://b.example,https://a.example/")
