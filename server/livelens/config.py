"""Settings from the command line, the environment and the user's file, in that order of strength."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Final

import platformdirs

CONFIG_NAME: Final = "config.toml"
ENV_PREFIX: Final = "LIVELENS_"
SETTINGS: Final[dict[str, type]] = {
    "model": str,
    "device": str,
    "dtype": str,
    "threads": int,
    "host": str,
    "port": int,
    "base_url": str,
    "token": str,
    "token_file": str,
    "allow_host": list,
    "allow_origin": list,
    "allow_frame": bool,
    "no_browser": bool,
    "json": bool,
    "grace_secs": float,
    "trust_remote_code": bool,
}


class ConfigError(ValueError):
    """A settings file that cannot be used; the text names the file and what to change."""


def config_path() -> Path:
    """Where the user's settings file is, whether it exists or not."""
    return platformdirs.user_config_path("livelens", appauthor=False) / CONFIG_NAME


def env_name(setting: str) -> str:
    """The environment variable of a setting: `LIVELENS_ALLOW_HOST`."""
    return ENV_PREFIX + setting.upper()


def read_config(path: Path | None = None) -> dict[str, object]:
    """Settings in the user's file, checked by name and type; empty where there is no file. Raises ConfigError."""
    path = path if path is not None else config_path()
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not TOML: {error}") from error
    return {name: _checked(path, name, value) for name, value in values.items()}


def _checked(path: Path, name: str, value: object) -> object:
    expected = SETTINGS.get(name)
    if expected is None:
        raise ConfigError(f"{path}: unknown setting {name!r}; known are {', '.join(sorted(SETTINGS))}")
    if expected is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if expected is list:
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            return value
        raise ConfigError(f"{path}: {name} must be a list of texts")
    if not isinstance(value, expected) or (expected is not bool and isinstance(value, bool)):
        raise ConfigError(f"{path}: {name} must be of type {expected.__name__}, got {value!r}")
    return value
