"""What is said of an error that nobody foresaw."""

from mountfs.daemon.errors import first_cause


def test_a_group_is_named_by_the_first_error_in_it() -> None:
    first = AttributeError("no such function")
    group = ExceptionGroup("outer", [ExceptionGroup("inner", [first]), ValueError("second")])
    assert first_cause(group) is first
    assert first_cause(first) is first
