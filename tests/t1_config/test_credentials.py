"""The token comes from the environment or a private file, and shows nowhere."""

import os
from pathlib import Path

import pytest

from mountfs.daemon.credentials import read_token
from mountfs.daemon.errors import ConfigurationRefused
from mountfs.daemon.settings import MountSettings, Secret


@pytest.fixture(autouse=True)
def without_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MOUNTFS_TOKEN", raising=False)


def _file(folder: Path, content: str, mode: int = 0o600) -> Path:
    path = folder / "token"
    path.write_text(content)
    path.chmod(mode)
    return path


def test_environment_goes_before_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOUNTFS_TOKEN", " from-environment\n")
    assert read_token(_file(tmp_path, "from-file")).reveal() == "from-environment"


def test_file_is_read_without_its_line_end(tmp_path: Path) -> None:
    assert read_token(_file(tmp_path, "from-file\n")).reveal() == "from-file"
    assert read_token(_file(tmp_path, "from-file", 0o400)).reveal() == "from-file"


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660, 0o620])
def test_file_that_others_reach_is_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(ConfigurationRefused, match=rf"by others \(mode {mode:04o}\)") as caught:
        read_token(_file(tmp_path, "secret", mode))
    assert caught.value.hint.startswith("chmod 600 ")


@pytest.mark.parametrize("content", ["", " \n"])
def test_empty_file_is_refused(tmp_path: Path, content: str) -> None:
    with pytest.raises(ConfigurationRefused, match="is empty"):
        read_token(_file(tmp_path, content))


@pytest.mark.parametrize("content", ["two words", "line\nline", "töken", "nul\0"])
def test_what_is_no_token_is_refused_without_showing_it(tmp_path: Path, content: str) -> None:
    with pytest.raises(ConfigurationRefused, match="does not hold a token") as caught:
        read_token(_file(tmp_path, content))
    assert content not in str(caught.value)


def test_pipe_directory_and_missing_file_are_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(ConfigurationRefused, match="not a regular file"):
        read_token(tmp_path / "pipe")
    with pytest.raises(ConfigurationRefused, match=r"not a regular file|Is a directory"):
        read_token(tmp_path)
    with pytest.raises(ConfigurationRefused, match="No such file"):
        read_token(tmp_path / "missing")
    with pytest.raises(ConfigurationRefused, match="no token"):
        read_token(None)


def test_secret_does_not_show_itself() -> None:
    settings = MountSettings(
        url="https://x", workspace="w", mountpoint=Path("/m"), cache_dir=Path("/c"), token=Secret("abc123")
    )
    assert "abc123" not in f"{settings} {settings!r} {settings.token} {[settings.token]}"
    assert MountSettings.load(settings.dump()) == settings
