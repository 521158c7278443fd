"""Where things are and what is secret: environment variables named ``TRUCK_COUNTER_*``.

What the world is stands in ``cameras.toml``; experiment knobs are arguments of the commands.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from pipeline.errors import ConfigError


class Settings(BaseSettings):
    """Read from the environment; an explicit ``--root`` wins over ``TRUCK_COUNTER_ROOT``."""

    model_config = SettingsConfigDict(env_prefix="TRUCK_COUNTER_", extra="ignore")

    root: Path = Path("data")
    label_studio_url: str | None = None
    label_studio_api_key: SecretStr | None = None
    label_studio_timeout_s: float = Field(default=60.0, gt=0)
    alert_url: SecretStr | None = None
    reports_url: str | None = None
    mlflow: str | None = None


def read_settings() -> Settings:
    """Read the settings; no message repeats a value, it may be a secret.

    Raises:
        ConfigError: one does not fit.
    """
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        name = f"TRUCK_COUNTER_{first['loc'][0]}".upper()
        raise ConfigError(f"bad {name}: {first['msg']}.", "Mend or unset it.") from None
