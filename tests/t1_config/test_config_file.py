"""A configuration is taken as written or refused with one line that names the place."""

from pathlib import Path

import pytest

from mountfs.cli.config_file import ConfigFile, read_config
from mountfs.daemon.errors import ConfigurationRefused
from mountfs.daemon.settings import MountSettings


def _read(folder: Path, text: str) -> ConfigFile:
    path = folder / "mountfs.toml"
    path.write_text(text)
    return read_config(path)


def test_every_key_is_taken(tmp_path: Path) -> None:
    config = _read(
        tmp_path,
        """
        url = "https://files.example"
        workspace = "main"
        cache = "cache"
        token_file = "token"
        allow_insecure = true
        cache_size = "1.5 GiB"
        drain_timeout_s = 5
        upload_delay_s = 0
        durability = "remote"
        consistency = "open"
        conflict = "last-writer-wins"
        lease_duration_s = 120
        allow_other = true
        read_only = true
        local_only = ["node_modules/", "*.o"]
        share_attributes = false
        passthrough = false
        log_level = "debug"
        """,
    )
    assert config.model_fields_set == set(ConfigFile.model_fields)
    assert config.cache_size == 3 * 512 * 1024**2
    assert config.drain_timeout_s == 5


def test_defaults_are_those_of_the_settings(tmp_path: Path) -> None:
    config = _read(tmp_path, "")
    for name in ("upload_delay_s", "durability", "consistency", "conflict", "lease_duration_s", "log_level"):
        default = MountSettings.__dataclass_fields__[name].default
        assert getattr(config, name) == default, name


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ('\ncach_size = "1 GiB"', 2, ['unknown key "cach_size"', "cache_size"]),
        ('token = "secret"', 1, ["token_file"]),
        ('url = "https://x"\ndurability = "cloud"', 2, ["durability must be one of 'local' or 'remote'"]),
        ("cache_size = 12", 1, ["cache_size must be greater than or equal to"]),
        ('cache_size = "ten"', 1, ["cache_size must be a number of bytes or a text like"]),
        ("cache_size = true", 1, ["cache_size must be"]),
        ("drain_timeout_s = -1", 1, ["drain_timeout_s must be greater than or equal to 0"]),
        ("drain_timeout_s = inf", 1, ["drain_timeout_s must be"]),
        ("drain_timeout_s = nan", 1, ["drain_timeout_s must be"]),
        ('read_only = "yes"', 1, ["read_only must be a valid boolean"]),
        ('local_only = "*.o"', 1, ["local_only must be a valid list"]),
        ('local_only = ["!"]', 1, ["local_only must be patterns as in a .gitignore"]),
        ("lease_duration_s = 5", 1, ["lease_duration_s must be greater than or equal to 60"]),
        ("\n\n[mount]\nurl = 'x'", 3, ['unknown key "mount"']),
    ],
)
def test_a_wrong_key_or_value_is_named_with_its_line(
    tmp_path: Path, text: str, line: int, words: list[str]
) -> None:
    with pytest.raises(ConfigurationRefused) as caught:
        _read(tmp_path, text)
    assert f"mountfs.toml, line {line}: " in caught.value.message
    for word in words:
        assert word in caught.value.message
    assert "\n" not in caught.value.message


def test_a_value_is_not_repeated_in_the_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationRefused) as caught:
        _read(tmp_path, 'token = "abcdef123456"')
    assert "abcdef123456" not in caught.value.message


@pytest.mark.parametrize("text", ["url = ", "= 3", "url = 'a'\nurl = 'b'"])
def test_broken_toml_is_told_in_one_line(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigurationRefused, match=r"is not valid TOML: .*at "):
        _read(tmp_path, text)


def test_what_is_no_file_or_no_text_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationRefused, match="cannot be read: No such file"):
        read_config(tmp_path / "missing.toml")
    with pytest.raises(ConfigurationRefused, match="cannot be read: Is a directory"):
        read_config(tmp_path)
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigurationRefused, match="is not UTF-8 text"):
        read_config(tmp_path / "binary")
