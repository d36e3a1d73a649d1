"""Options go over environment over file; addresses are checked before a token is sent anywhere."""

from pathlib import Path

import click
import pytest

from mountfs.cli.mount_settings import checked_url, collect
from mountfs.daemon.errors import ConfigurationRefused
from mountfs.daemon.settings import MountSettings


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MOUNTFS_TOKEN", "token")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("MOUNTFS_URL", "MOUNTFS_WORKSPACE"):
        monkeypatch.delenv(name, raising=False)


def _collect(mountpoint: Path, **given: str | Path | bool) -> MountSettings:
    options: dict[str, object] = dict.fromkeys(("url", "workspace", "cache", "token_file", "config_path"))
    return collect(mountpoint, **{**options, **given})  # type: ignore[arg-type]


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
