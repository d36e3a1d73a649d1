"""What a line of fstab asks for becomes a call of `mountfs mount`."""

from collections.abc import Collection
from pathlib import Path

import pytest

from mountfs.cli.mount_helper import Wanted, WrongOption, mount, translate


def nothing(config: str | None) -> Collection[str]:
    return ()


def installed(config: str | None) -> Collection[str]:
    return ["project"] if config is None else []


def test_a_configured_name_needs_nothing_more() -> None:
    assert translate("project", "/srv/p", "rw,_netdev,nofail,x-systemd.automount", installed) == Wanted(
        "project", None, ("mountpoint=/srv/p",)
    )


def test_anything_else_is_the_workspace() -> None:
    wanted = translate(
        "main", "/m", "ro,allow_other,url=https://a,cache_size=1 GiB,config=/c.toml", installed
    )
    assert wanted == Wanted(
        None,
        "/c.toml",
        (
            *("read_only=true", "allow_other=true", "url=https://a", "cache_size=1 GiB"),
            *("workspace=main", "mountpoint=/m"),
        ),
    )
    assert "workspace=w" in translate("none", "/m", "workspace=w", nothing).assignments
    assert "workspace=none" not in translate("none", "/m", "workspace=w", nothing).assignments


def test_a_name_is_one_of_the_file_that_is_given() -> None:
    files = {"/c.toml": ["project"]}
    wanted = translate("project", "/srv/p", "config=/c.toml", lambda config: files.get(config or "", []))
    assert wanted == Wanted("project", "/c.toml", ("mountpoint=/srv/p",))


def test_a_file_that_is_given_and_has_a_fault_is_told_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "wrong.toml"
    config.write_text("cache_siz = 1")
    assert mount(["project", "/m", "-o", f"config={config}"]) == 32
    assert "cache_siz" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["nonsense", "token=secret", "read_only", "config"])
def test_an_unknown_option_is_refused_unless_it_may_be(option: str) -> None:
    with pytest.raises(WrongOption, match=option.split("=")[0]):
        translate("main", "/m", option, nothing)
    wanted = translate("main", "/m", option, nothing, sloppy=True)
    assert wanted.assignments == ("workspace=main", "mountpoint=/m")


def test_a_wrong_call_has_the_code_of_mount(capsys: pytest.CaptureFixture[str]) -> None:
    assert mount(["main"]) == 1
    assert mount(["main", "/m", "-o", "token=secret-word"]) == 1
    assert mount(["main", "/m", "-f", "-o", "url=https://a"]) == 0
    assert "secret-word" not in capsys.readouterr().err
