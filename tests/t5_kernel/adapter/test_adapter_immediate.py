"""Requests that are answered past libfuse, which looks at every answer before the kernel has it: so do we."""

import errno
from collections.abc import Callable

import pytest

from mountfs.kernel import extension
from tests.t5_kernel.adapter.processes import Daemon, Process

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(not extension.AVAILABLE, reason=f"NOT TESTED: {extension.REASON}"),
]

StartProgram = Callable[..., Process]

STATUS = """
try:
    os.stat(sys.argv[1])
    say("found")
except OSError as error:
    say(errno.errorcode[error.errno])
"""


def answer_status(daemon: Daemon, handler: str) -> None:
    """From here on, requests for attributes are answered by `handler`, Python with `install` at hand."""
    extras = "__import__('mountfs.kernel._extras', fromlist=['_'])"
    daemon.ask(f"(lambda install: install({{3: {handler}}}))({extras}.install_immediate)")


@pytest.mark.parametrize("answer", ["512", "4095", "-5", "1 << 80", "-1 << 80", "'text'", "2.5", "b'short'"])
def test_answer_that_the_kernel_would_refuse_is_an_eio(
    daemon: Daemon, start_program: StartProgram, answer: str
) -> None:
    answer_status(daemon, f"lambda ino: {answer}")
    assert start_program(STATUS, daemon.mountpoint).line() == "EIO"


@pytest.mark.parametrize("number", [1, errno.ETIMEDOUT, 511])
def test_errno_comes_as_it_is(daemon: Daemon, start_program: StartProgram, number: int) -> None:
    answer_status(daemon, f"lambda ino: {number}")
    expected = errno.errorcode.get(number, str(number))
    code = STATUS.replace("errno.errorcode[error.errno]", "errno.errorcode.get(error.errno, error.errno)")
    assert start_program(code, daemon.mountpoint).line() == expected


def test_handler_may_be_replaced_while_it_runs(daemon: Daemon, start_program: StartProgram) -> None:
    answer_status(daemon, f"lambda ino: (install({{3: lambda ino: {errno.EPERM}}}), {errno.EACCES})[1]")
    assert start_program(STATUS, daemon.mountpoint).line() == "EACCES"
    assert start_program(STATUS, daemon.mountpoint).line() == "EPERM"
