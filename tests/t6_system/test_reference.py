"""The reference is what the program says of itself, and its man pages are sound."""

import shutil
import subprocess

import pytest

from scripts.lib import reference
from tests.t6_system.machine import PROGRAM, REPOSITORY, Machine

AGAIN = "run scripts/reference"


def test_the_reference_of_commands_is_the_program() -> None:
    assert (REPOSITORY / "docs" / "reference" / "commands.md").read_text() == reference.commands_page(), AGAIN


def test_the_reference_of_keys_is_the_model() -> None:
    page = (REPOSITORY / "docs" / "reference" / "configuration.md").read_text()
    assert page == reference.configuration_page(), AGAIN


def test_every_command_has_a_man_page_with_its_options() -> None:
    pages = reference.man_pages()
    for name, command in reference.commands():
        page = pages[f"{name.replace(' ', '-')}.1"]
        for option, _ in reference._options(name, command):
            assert option.split(",")[0].split()[0].replace("-", "\\-") in page
    assert "\\-\\-watch" in pages["mountfs-status.1"]


@pytest.mark.skipif(shutil.which("groff") is None, reason="NOT TESTED: groff is not installed")
@pytest.mark.parametrize("name", ["mountfs.1", "mountfs-health.1", "mountfs-mount.1"])
def test_man_pages_are_sound(name: str) -> None:
    page = reference.man_pages()[name].encode()
    done = subprocess.run(
        ["groff", "-man", "-Tutf8", "-ww"], input=page, capture_output=True, timeout=60, check=True
    )
    assert done.stderr == b""
    assert b"SYNOPSIS" in done.stdout or b"S\x08SY" in done.stdout


@pytest.mark.parametrize(("shell", "word"), [("bash", "complete"), ("zsh", "compdef"), ("fish", "complete")])
def test_shells_complete_commands(machine: Machine, shell: str, word: str) -> None:
    environment = {**machine.environment(), "_MOUNTFS_COMPLETE": f"{shell}_source"}
    if shell == "bash" and shutil.which("bash") is None:
        pytest.skip("NOT TESTED: bash is not installed")
    done = subprocess.run(PROGRAM, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert word in done.stdout, done
    environment |= {"_MOUNTFS_COMPLETE": "bash_complete", "COMP_WORDS": "mountfs stat", "COMP_CWORD": "1"}
    done = subprocess.run(PROGRAM, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert "status" in done.stdout
