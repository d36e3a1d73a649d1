"""Options go over environment over file; addresses are checked before a token is sent anywhere."""

import os
from pathlib import Path

import click
import pytest

from mountfs.cli.mount_settings import collect
from mountfs.daemon.config import search as config_search
from mountfs.daemon.config.file import Given
from mountfs.daemon.errors import ConfigurationRefused
from mountfs.daemon.service_address import checked_url
from mountfs.daemon.settings import MountSettings


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for variable in [name for name in os.environ if name.startswith("MOUNTFS_")]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("MOUNTFS_TOKEN", "token")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setattr(config_search, "SYSTEM_FOLDER", tmp_path / "etc")


def _collect(
    target: Path | str | None, *, config_path: Path | None = None, **given: str | Path | bool
) -> MountSettings:
    options = {
        key: Given(str(value) if isinstance(value, Path) else value, f"--{key}")
        for key, value in given.items()
    }
    return collect(None if target is None else str(target), options, config_path)


def test_options_over_environment_over_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "c.toml"
    config.write_text('url = "https://file"\nworkspace = "file"\ncache = "here"\nread_only = true')
    from_file = _collect(tmp_path / "m", config_path=config)
    assert (from_file.url, from_file.workspace, from_file.read_only) == ("https://file", "file", True)
    assert from_file.cache_dir == tmp_path / "here"
    monkeypatch.setenv("MOUNTFS_URL", "https://environment/")
    monkeypatch.setenv("MOUNTFS_WORKSPACE", "environment")
    from_environment = _collect(tmp_path / "m", config_path=config)
    assert (from_environment.url, from_environment.workspace) == ("https://environment", "environment")
    given = _collect(tmp_path / "m", config_path=config, url="https://o", workspace="o", cache=tmp_path / "k")
    assert (given.url, given.workspace, given.cache_dir) == ("https://o", "o", tmp_path / "k")


def test_default_cache_is_the_same_each_time_and_another_for_each_mount(tmp_path: Path) -> None:
    def cache(mountpoint: str, url: str = "https://a", workspace: str = "w/../../x") -> Path:
        return _collect(tmp_path / mountpoint, url=url, workspace=workspace).cache_dir

    assert cache("one") == cache("one")
    assert len({cache("one"), cache("two"), cache("one", "https://b"), cache("one", workspace="v")}) == 4
    assert cache("one").parent == tmp_path / "cache" / "mountfs"


def test_cache_inside_the_mountpoint_is_refused(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "m")
    for cache in (tmp_path / "m", tmp_path / "m" / "c", tmp_path / "link" / "c"):
        with pytest.raises(ConfigurationRefused, match="inside the mountpoint"):
            _collect(tmp_path / "m", url="https://a", workspace="w", cache=cache)


def test_missing_address_or_workspace_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(click.UsageError, match="--url"):
        _collect(tmp_path / "m", workspace="w")
    with pytest.raises(click.UsageError, match="--workspace"):
        _collect(tmp_path / "m", url="https://a")


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:80/current", "http://localhost", "http://[::1]:8080", "https://files.example/x"]
)
def test_addresses_that_are_taken(url: str) -> None:
    assert checked_url(url + "/", allow_insecure=False) == url


@pytest.mark.parametrize(
    "url",
    [
        "files.example",
        "ftp://files.example",
        "https://",
        "https://h:port",
        "https://[",
        "https://h/?q=1",
        "https://user:word@h",
        "http://files.example",
        "http://10.0.0.1",
        "http://localhost.example",
    ],
)
def test_addresses_that_are_refused(url: str) -> None:
    with pytest.raises(ConfigurationRefused) as caught:
        checked_url(url, allow_insecure=False)
    assert "user:word" not in str(caught.value)


def test_plain_http_is_taken_where_explicitly_allowed() -> None:
    assert checked_url("http://10.0.0.1", allow_insecure=True) == "http://10.0.0.1"


def test_passthrough_is_on_unless_an_option_or_the_configuration_switches_it_off(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text('url = "https://a"\nworkspace = "w"\npassthrough = false\n')
    place = tmp_path / "m"
    assert _collect(place, url="https://a", workspace="w").passthrough
    assert not _collect(place, config_path=config).passthrough
    assert not _collect(place, url="https://a", workspace="w", passthrough=False).passthrough


def _configure(path: Path, text: str) -> Path:
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text(text)
    return path


def test_a_word_is_a_configured_name_and_a_path_finds_its_mount(tmp_path: Path) -> None:
    _configure(
        tmp_path / "config" / "mountfs" / "a.toml",
        f'url = "https://a"\n[mounts.x]\nworkspace = "wx"\nmountpoint = "{tmp_path}/x"\n'
        f'[mounts.y]\nworkspace = "wy"\nmountpoint = "{tmp_path}/y"\n',
    )
    assert _collect("x").workspace == "wx"
    assert _collect("y").mountpoint == tmp_path / "y"
    assert _collect(tmp_path / "y").workspace == "wy"
    assert _collect("x", workspace="other").workspace == "other"


def test_what_the_user_configured_goes_over_what_the_machine_has(tmp_path: Path) -> None:
    text = 'url = "https://{}"\nworkspace = "w"\nmountpoint = "/m"\n'
    _configure(tmp_path / "etc" / "x.toml", text.format("machine"))
    _configure(tmp_path / "etc" / "z.toml", text.format("z").replace("/m", "/z"))
    _configure(tmp_path / "config" / "mountfs" / "x.toml", text.format("user"))
    assert _collect("x").url == "https://user"
    assert _collect("z").url == "https://z"


def test_a_word_that_is_nothing_is_told_with_what_there_is(tmp_path: Path) -> None:
    _configure(tmp_path / "etc" / "known.toml", 'mountpoint = "/m"')
    with pytest.raises(click.UsageError, match="configured are known"):
        _collect("unknown", url="https://a", workspace="w")


def test_a_broken_file_keeps_no_other_mount_from_being_found(tmp_path: Path) -> None:
    _configure(tmp_path / "etc" / "a.toml", "= 3")
    _configure(tmp_path / "etc" / "b.toml", 'url = "https://b"\nworkspace = "w"\nmountpoint = "/m"\n')
    assert _collect("b").url == "https://b"
    with pytest.raises(ConfigurationRefused, match=r"a\.toml is not valid TOML"):
        _collect("a")


def test_a_file_with_several_mounts_needs_the_name_of_one(tmp_path: Path) -> None:
    text = 'url = "https://a"\nworkspace = "w"\n[mounts.x]\nmountpoint = "/x"\n'
    path = _configure(tmp_path / "c.toml", text)
    assert _collect(None, config_path=path).mountpoint == Path("/x")
    _configure(path, text + '[mounts.y]\nmountpoint = "/y"\n')
    assert _collect("y", config_path=path).mountpoint == Path("/y")
    with pytest.raises(click.UsageError, match="several mounts"):
        _collect(None, config_path=path)


def test_every_key_is_taken_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for key, text in {
        "url": "https://e",
        "workspace": "1234",
        "mountpoint": "/m",
        "cache": str(tmp_path / "k"),
        "cache_size": "1 GiB",
        "read_only": "true",
        "drain_timeout_s": "7",
        "local_only": '["*.o"]',
        "log_level": "debug",
    }.items():
        monkeypatch.setenv(f"MOUNTFS_{key.upper()}", text)
    found = _collect(None)
    assert (found.url, found.workspace, found.mountpoint) == ("https://e", "1234", Path("/m"))
    assert (found.cache_size_bytes, found.read_only, found.drain_timeout_s) == (1024**3, True, 7)
    assert (found.local_only, found.log_level, found.cache_dir) == (("*.o",), "debug", tmp_path / "k")
    monkeypatch.setenv("MOUNTFS_READ_ONLY", "perhaps")
    with pytest.raises(ConfigurationRefused, match="MOUNTFS_READ_ONLY: read_only must be a valid boolean"):
        _collect(None)


def test_settings_tell_where_they_can_be_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _configure(
        tmp_path / "etc" / "a.toml", '[mounts.x]\nurl = "https://a"\nworkspace = "w"\nmountpoint = "/x"\n'
    )
    monkeypatch.setenv("MOUNTFS_DRAIN_TIMEOUT_S", "5")
    found = _collect("x", workspace="other")
    assert found.config is not None
    assert (found.config.path, found.config.name) == (path, "x")
    assert set(found.config.fixed) == {"drain_timeout_s", "workspace"}
    assert MountSettings.load(found.dump()) == found


@pytest.mark.skipif(os.geteuid() != 0, reason="NOT TESTED: only root has the caches of the machine")
def test_a_mount_of_the_machine_has_one_cache_however_it_is_started(tmp_path: Path) -> None:
    text = f'url = "https://a"\nworkspace = "w"\nmountpoint = "{tmp_path}/m"\n'
    _configure(tmp_path / "etc" / "x.toml", text)
    assert _collect("x").cache_dir == _collect(tmp_path / "m").cache_dir == Path("/var/cache/mountfs/x")
    _configure(tmp_path / "config" / "mountfs" / "x.toml", text)
    assert _collect("x").cache_dir.parent == tmp_path / "cache" / "mountfs"


def test_hooks_have_their_secrets_and_survive_the_pipe_to_the_daemon(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("s3cret\n")
    secret.chmod(0o600)
    config = tmp_path / "c.toml"
    config.write_text(
        """
        url = "https://o"
        workspace = "w"
        [[hooks]]
        on = ["failed", "lock-lost"]
        url = "https://hooks.example/x"
        secret_file = "secret"
        [[hooks]]
        on = ["confirmed"]
        match = ["*.csv"]
        run = ["tell", "us"]
        """
    )
    hook, program = _collect(tmp_path / "m", config_path=config).hooks
    assert hook.secret is not None
    assert (hook.secret.reveal(), hook.on) == ("s3cret", ("failed", "lock-lost"))
    assert "s3cret" not in repr(hook)
    assert (program.run, program.match) == (("tell", "us"), ("*.csv",))
    settings = _collect(tmp_path / "m", config_path=config)
    assert MountSettings.load(settings.dump()) == settings
    secret.chmod(0o644)
    with pytest.raises(ConfigurationRefused, match="read or written by others"):
        _collect(tmp_path / "m", config_path=config)
    config.write_text(config.read_text().replace("https://hooks", "http://hooks"))
    with pytest.raises(ConfigurationRefused, match="without encryption"):
        _collect(tmp_path / "m", config_path=config)
