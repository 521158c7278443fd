"""Where things are and what is secret: environment variables named ``TRUCK_COUNTER_*``.

What the world is stands in ``cameras.toml``; experiment knobs are arguments of the commands.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Read from the environment; an explicit ``--root`` wins over ``TRUCK_COUNTER_ROOT``."""

    model_config = SettingsConfigDict(env_prefix="TRUCK_COUNTER_", extra="ignore")

    root: Path = Path("data")
    label_studio_url: str | None = None
    label_studio_api_key: SecretStr | None = None
    label_studio_timeout_s: float = Field(default=60.0, gt=0)
    alert_url: SecretStr | None = None
