"""What a line of fstab asks for becomes a call of `mountfs mount`."""

import pytest

from mountfs.cli.mount_helper import Wanted, WrongOption, mount, translate


def test_a_configured_name_needs_nothing_more() -> None:
    assert translate("project", "/srv/p", "rw,_netdev,nofail,x-systemd.automount", ["project"]) == Wanted(
        "project", None, ("mountpoint=/srv/p",)
    )


def test_anything_else_is_the_workspace() -> None:
    wanted = translate(
        "main", "/m", "ro,allow_other,url=https://a,cache_size=1 GiB,config=/c.toml", ["project"]
    )
    assert wanted == Wanted(
        None,
        "/c.toml",
        (
            *("read_only=true", "allow_other=true", "url=https://a", "cache_size=1 GiB"),
            *("workspace=main", "mountpoint=/m"),
        ),
    )
    assert "workspace=w" in translate("none", "/m", "workspace=w", []).assignments
    assert "workspace=none" not in translate("none", "/m", "workspace=w", []).assignments


@pytest.mark.parametrize("option", ["nonsense", "token=secret", "read_only", "config"])
def test_an_unknown_option_is_refused_unless_it_may_be(option: str) -> None:
    with pytest.raises(WrongOption, match=option.split("=")[0]):
        translate("main", "/m", option, [])
    assert translate("main", "/m", option, [], sloppy=True).assignments == ("workspace=main", "mountpoint=/m")


def test_a_wrong_call_has_the_code_of_mount(capsys: pytest.CaptureFixture[str]) -> None:
    assert mount(["main"]) == 1
    assert mount(["main", "/m", "-o", "token=secret-word"]) == 1
    assert mount(["main", "/m", "-f", "-o", "url=https://a"]) == 0
    assert "secret-word" not in capsys.readouterr().err
