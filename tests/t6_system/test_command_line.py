"""What the program says of itself, and how it refuses what it does not understand."""

import json
import os

import pytest

from mountfs import __version__
from mountfs.cli.exit_codes import MEANINGS, ExitCode
from mountfs.daemon import watchdog
from tests.t6_system.machine import Machine

COMMANDS = ("serve", "mount", "umount", "sync", "status", "up", "down", "doctor")


def test_version(machine: Machine) -> None:
    assert machine.run("--version").succeeded().stdout == f"mountfs {__version__}\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(machine: Machine, command: str) -> None:
    assert machine.run(command, "--help").succeeded().stdout.startswith(f"Usage: mountfs {command}")


def test_exit_codes_are_in_the_help(machine: Machine) -> None:
    shown = machine.run("--help").succeeded().stdout
    assert set(MEANINGS) == set(ExitCode)
    assert ExitCode(watchdog.HUNG_EXIT_CODE) is ExitCode.TIMEOUT
    for code, meaning in MEANINGS.items():
        assert f"  {code.value:>3}  {meaning}\n" in shown


def test_every_configuration_key_says_what_it_means() -> None:
    from mountfs.daemon.config.file import ConfigFile

    assert [key for key, field in ConfigFile.model_fields.items() if not field.description] == []


@pytest.mark.parametrize(
    "arguments",
    [
        ["--nope"],
        ["nope"],
        ["mount"],
        ["mount", "--nope", "x"],
        ["mount", "a", "b"],
        ["mount", "--url", "https://x", "a"],
        ["mount", "--token", "secret", "a"],
        ["umount"],
        ["umount", "--timeout", "soon", "a"],
        ["umount", "--timeout", "inf", "a"],
        ["umount", "--timeout", "nan", "a"],
        ["sync", "--timeout", "nan"],
        ["retry", "--timeout", "inf"],
        ["health", "--timeout", "nan"],
        ["umount", "--timeout", "-1", "a"],
        ["umount", "--no-wait", "--timeout", "3", "a"],
        ["sync", "--nope"],
        ["status", "a", "b"],
        ["serve"],
        ["serve", "--data", "d", "--listen", "8080"],
        ["serve", "--data", "d", "--listen", "127.0.0.1:99999"],
        ["up"],
        ["down"],
        ["doctor", "--nope"],
    ],
    ids=" ".join,
)
def test_unknown_or_missing_arguments_are_one_line(machine: Machine, arguments: list[str]) -> None:
    machine.run(*arguments).refused(ExitCode.USAGE, "--help")


@pytest.mark.parametrize("words", [[], ["trash"], ["config"]], ids=" ".join)
def test_who_names_no_command_gets_the_help(machine: Machine, words: list[str]) -> None:
    done = machine.run(*words)
    assert (done.code, done.stdout) == (ExitCode.USAGE, "")
    assert done.stderr.startswith(f"Usage: {' '.join(['mountfs', *words])} ")
    assert "\nCommands:\n" in done.stderr


@pytest.mark.skipif(os.getuid() != 0, reason="NOT TESTED: hiding mounts needs root")
def test_without_any_mount(machine: Machine) -> None:
    """The mounts that whoever runs this test may have are hidden."""
    hide = "mount -t tmpfs none /run"
    told = machine.run_in_namespace(hide, "status").succeeded().stdout
    assert told == "nothing is mounted\n"
    told = machine.run_in_namespace(hide, "status", "--json").succeeded().stdout
    assert json.loads(told) == {"mounts": []}
    machine.run_in_namespace(hide, "sync").refused(ExitCode.NOT_MOUNTED, "nothing is mounted")


@pytest.mark.parametrize("command", ["umount", "status", "sync", "doctor"])
def test_what_is_not_mounted_is_told(machine: Machine, command: str) -> None:
    machine.run(command, machine.mountpoint()).refused(ExitCode.NOT_MOUNTED, str(machine.folder))


def test_down_of_what_was_never_up(machine: Machine) -> None:
    machine.run("down", "ws").refused(ExitCode.NOT_MOUNTED, "never brought up")


def test_runtime_directory_that_others_can_enter_is_refused(machine: Machine) -> None:
    machine.runtime_dir.mkdir(mode=0o755)
    machine.runtime_dir.chmod(0o755)
    server = machine.serve()
    machine.mount(server, machine.mountpoint()).refused(ExitCode.CONFIGURATION, "not a private directory")


def test_server_keeps_its_token_private_and_its_data_to_itself(machine: Machine) -> None:
    server = machine.serve()
    assert server.url.startswith("http://127.0.0.1:")
    assert server.token_file.stat().st_mode & 0o777 == 0o600
    second = machine.run("serve", "--data", server.data, "--listen", "127.0.0.1:0")
    second.refused(ExitCode.CONFIGURATION, "another server")
    taken = machine.run("serve", "--data", machine.folder / "other", "--listen", f"127.0.0.1:{server.port}")
    taken.refused(ExitCode.CONFIGURATION, "in use")
    machine.run("serve", "--data", "/proc/nowhere").refused(ExitCode.CONFIGURATION, "/proc/nowhere")
