"""A configuration is taken as written or refused with one line that names the place."""

from pathlib import Path

import pytest

from mountfs.daemon.config.file import ConfigFile, MountKeys, examine, read_config
from mountfs.daemon.errors import ConfigurationRefused
from mountfs.daemon.settings import MountSettings


def _read(folder: Path, text: str) -> ConfigFile:
    path = folder / "mountfs.toml"
    path.write_text(text)
    return read_config(path).content


def test_every_key_is_taken(tmp_path: Path) -> None:
    config = _read(
        tmp_path,
        """
        url = "https://files.example"
        workspace = "main"
        mountpoint = "m"
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
        owner = "root"
        allow_other = true
        read_only = true
        local_only = ["node_modules/", "*.o"]
        share_attributes = false
        outside_links = true
        open_file_interval_s = 5
        passthrough = false
        log_level = "debug"
        log_format = "json"
        control_dir = ".control"
        list_control_dir = true
        metrics_listen = "127.0.0.1:9464"
        web_listen = "[::1]:8384"
        listen_beyond_loopback = true
        traces_url = "http://127.0.0.1:4318/v1/traces"
        hooks = [{on = ["failed"], run = ["true"]}]
        """,
    )
    assert config.model_fields_set == set(MountKeys.model_fields)
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
        ("cache_size = [1]", 1, ["cache_size must be a number of bytes or a text like"]),
        ("mounts = 3", 1, ["mounts must be a table"]),
        ("[mounts]\na = 3", 2, ["mounts.a must be a table"]),
        ("drain_timeout_s = -1", 1, ["drain_timeout_s must be greater than or equal to 0"]),
        ("drain_timeout_s = inf", 1, ["drain_timeout_s must be"]),
        ("drain_timeout_s = nan", 1, ["drain_timeout_s must be"]),
        ('read_only = "yes"', 1, ["read_only must be a valid boolean"]),
        ('local_only = "*.o"', 1, ["local_only must be a valid list"]),
        ('local_only = ["!"]', 1, ["local_only must be patterns as in a .gitignore"]),
        ("lease_duration_s = 5", 1, ["lease_duration_s must be greater than or equal to 60"]),
        ("lease_duration_s = 3601", 1, ["lease_duration_s must be less than or equal to 3600"]),
        ("\n\n[mount]\nurl = 'x'", 3, ['unknown key "mount"', "did you mean mounts?"]),
        ("[mounts.a]\nurl = 'x'\n[mounts.b]\ncach = 'x'", 4, ['unknown key "mounts.b.cach"', "mean cache?"]),
        (
            '[mounts.a]\nurl = """\nlog_level = 1\n"""\nlog_level = 3',
            5,
            ["mounts.a.log_level must be one of"],
        ),
        ('mounts.a.token = "secret"', 1, ["token_file"]),
        ('url = "x"\n[mounts."a b"]', 2, ["mounts must have names of letters"]),
        ("mounts = 3", 1, ["mounts must be"]),
        ('owner = "nobody-has-this"', 1, ["owner must name a user of this machine"]),
        ('owner = "root:nobody-has-this"', 1, ["owner must name a group of this machine"]),
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


def test_every_fault_of_a_file_is_found(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text('log_level = 3\n[mounts.x]\nurk = "a"\ncache_size = "1 KiB"\n')
    faults, content = examine(path)
    assert content is None
    assert sorted(fault.split(": ")[0] for fault in faults) == [f"{path}, line {line}" for line in (1, 3, 4)]


def test_a_named_mount_has_its_own_keys_over_those_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text(
        'url = "https://a"\nlog_level = "debug"\n\n'
        '[mounts.x]\nworkspace = "w"\nlog_level = "error"\ncache = "c"\n'
    )
    file = read_config(path)
    assert file.names() == ["x"]
    given = file.mount("x").given
    assert {key: (each.value, each.origin) for key, each in given.items()} == {
        "url": ("https://a", f"{path}, line 1"),
        "workspace": ("w", f"{path}, line 5"),
        "log_level": ("error", f"{path}, line 6"),
        "cache": (str(tmp_path / "c"), f"{path}, line 7"),
    }


def test_a_file_with_a_mountpoint_and_no_table_is_a_mount_named_as_the_file(tmp_path: Path) -> None:
    path = tmp_path / "project.toml"
    path.write_text('mountpoint = "here"')
    file = read_config(path)
    assert file.names() == ["project"]
    assert file.mount("project").mountpoint() == tmp_path / "here"
    with pytest.raises(KeyError):
        file.mount("other")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('control_dir = "a/b"', "line 1: control_dir must be the name of a directory"),
        ('metrics_listen = "localhost:1"', "must be a numeric address and a port"),
        ('traces_url = "ftp://x"', "must be the address of a collector"),
        ('web_listen = "127.0.0.1:70000"', "must be a numeric address and a port"),
        ('[[hooks]]\non = ["gone"]\nrun = ["x"]', "must be one of"),
        ('[[hooks]]\non = ["failed"]', "must each have either run or url"),
        ('[[hooks]]\non = ["failed"]\nurl = "https://h"', "must have a secret_file where it has a url"),
        ('[[hooks]]\non = []\nrun = ["x"]', "hooks"),
    ],
)
def test_keys_of_watching_are_checked(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ConfigurationRefused, match=words):
        _read(tmp_path, text)
