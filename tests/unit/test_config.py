"""The user's settings file."""

from __future__ import annotations

from pathlib import Path

import pytest

from livelens.config import ConfigError, env_name, read_config


def test_no_file_is_no_settings(tmp_path: Path) -> None:
    assert read_config(tmp_path / "config.toml") == {}


def test_settings_are_read_with_their_types(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text('port = 9000\ngrace_secs = 5\nallow_host = ["a", "b"]\nno_browser = true\nmodel = "fake"\n')
    settings = read_config(path)
    assert settings == {"port": 9000, "grace_secs": 5.0, "allow_host": ["a", "b"], "no_browser": True, "model": "fake"}
    assert isinstance(settings["grace_secs"], float)


@pytest.mark.parametrize(
    "text",
    [
        "prot = 1",
        "port = '1'",
        "port = true",
        "allow_host = 'a'",
        "allow_host = [1]",
        "no_browser = 1",
        "= 1",
        "model = 3",
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as refusal:
        read_config(path)
    assert str(path) in str(refusal.value)


def test_every_setting_has_its_variable() -> None:
    assert env_name("allow_host") == "LIVELENS_ALLOW_HOST"
