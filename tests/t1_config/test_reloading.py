"""What a second reading of the configuration changes, what has to wait, and what keeps everything as it
was."""

from dataclasses import replace
from pathlib import Path

import pytest

from mountfs.daemon.errors import ConfigurationRefused
from mountfs.daemon.reloading import LIVE_KEYS, Reloading, reread
from mountfs.daemon.settings import ConfigSource, MountSettings, Secret

FILE = '[mounts.x]\nurl = "https://a"\nworkspace = "w"\nmountpoint = "/m"\n'


@pytest.fixture
def settings(tmp_path: Path) -> MountSettings:
    path = tmp_path / "a.toml"
    path.write_text(FILE)
    (tmp_path / "token").write_text("one")
    (tmp_path / "token").chmod(0o600)
    return MountSettings(
        url="https://a",
        workspace="w",
        mountpoint=Path("/m"),
        cache_dir=Path("/c"),
        token=Secret("one"),
        token_file=tmp_path / "token",
        config=ConfigSource(path=path, name="x", fixed=()),
    )


def _rewrite(settings: MountSettings, more: str) -> None:
    assert settings.config is not None
    settings.config.path.write_text(FILE + more)


def test_the_same_file_changes_nothing(settings: MountSettings) -> None:
    found = reread(settings)
    assert (found.settings, found.changed, found.waiting) == (settings, (), ())


def test_what_can_change_does_and_what_cannot_waits(settings: MountSettings) -> None:
    _rewrite(
        settings,
        'cache_size = "1 GiB"\nlog_level = "debug"\nallow_other = true\n'
        'local_only = ["*.o"]\ncache = "/other"\n',
    )
    found = reread(settings)
    assert found.settings == replace(settings, cache_size_bytes=1024**3, log_level="debug")
    assert found.changed == ("cache_size", "log_level")
    assert found.waiting == ("allow_other", "cache", "local_only")


def test_a_key_that_left_the_file_has_its_default_again(settings: MountSettings) -> None:
    found = reread(replace(settings, upload_delay_s=7.0, read_only=True))
    assert (found.settings.upload_delay_s, found.changed, found.waiting) == (
        0.5,
        ("upload_delay_s",),
        ("read_only",),
    )


def test_what_an_option_decided_stays(settings: MountSettings) -> None:
    assert settings.config is not None
    decided = replace(settings, config=replace(settings.config, fixed=("log_level",)))
    _rewrite(settings, 'log_level = "debug"\n')
    assert reread(decided).settings == decided


def test_a_new_token_is_read(settings: MountSettings) -> None:
    assert settings.token_file is not None
    settings.token_file.write_text("two\n")
    found = reread(settings)
    assert (found.settings.token, found.changed) == (Secret("two"), ("token_file",))
    assert "token_file" in LIVE_KEYS


@pytest.mark.parametrize("more", ["log_level = 3\n", "= 1\n"])
async def test_a_file_with_a_fault_changes_nothing(
    settings: MountSettings, more: str, caplog: pytest.LogCaptureFixture
) -> None:
    applied: list[MountSettings] = []
    reloading = Reloading(settings, applied.append)
    _rewrite(settings, more)
    with pytest.raises(ConfigurationRefused):
        reread(settings)
    await reloading.reload()
    assert (reloading.settings, applied) == (settings, [])
    assert "stays as it was" in caplog.text


async def test_changes_are_applied_and_the_rest_is_told(
    settings: MountSettings, caplog: pytest.LogCaptureFixture
) -> None:
    applied: list[MountSettings] = []
    reloading = Reloading(settings, applied.append)
    _rewrite(settings, "drain_timeout_s = 3\nread_only = true\n")
    await reloading.reload()
    assert applied == [reloading.settings] == [replace(settings, drain_timeout_s=3.0)]
    assert "from the next mount on: read_only" in caplog.text
