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


HOOK = '[[mounts.x.hooks]]\non = ["failed"]\nurl = "https://hooks"\nsecret_file = "secret"\n'


def test_hooks_change_and_so_do_their_secrets(settings: MountSettings, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("one")
    secret.chmod(0o600)
    _rewrite(settings, HOOK)
    found = reread(settings)
    (hook,) = found.settings.hooks
    assert (found.changed, hook.url, hook.secret) == (("hooks",), "https://hooks", Secret("one"))
    assert reread(found.settings).changed == ()
    secret.write_text("two")
    again = reread(found.settings)
    assert (again.changed, again.settings.hooks[0].secret) == (("hooks",), Secret("two"))
    _rewrite(settings, "")
    assert (gone := reread(found.settings)).changed == ("hooks",)
    assert gone.settings.hooks == ()


async def test_a_hook_whose_secret_cannot_be_read_changes_nothing(
    settings: MountSettings, caplog: pytest.LogCaptureFixture
) -> None:
    applied: list[MountSettings] = []
    _rewrite(settings, HOOK)
    await Reloading(settings, applied.append).reload()
    assert applied == []
    assert "secret cannot be read" in caplog.text


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
