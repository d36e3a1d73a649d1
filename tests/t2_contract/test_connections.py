"""Which way requests take to the service."""

import httpx
import pytest

from mountfs.remotes.fastio.connections import proxy_to

HTTPS = "https://api.example/current/"
VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.mark.parametrize(
    ("environment", "address", "expected"),
    [
        ({}, HTTPS, None),
        ({"https_proxy": "http://proxy.example:3128"}, HTTPS, "http://proxy.example:3128"),
        ({"https_proxy": "proxy.example:3128"}, HTTPS, "http://proxy.example:3128"),
        ({"all_proxy": "http://every.example"}, HTTPS, "http://every.example"),
        ({"https_proxy": "http://proxy.example", "no_proxy": "example"}, HTTPS, None),
        ({"https_proxy": "http://proxy.example", "no_proxy": "*"}, HTTPS, None),
        ({"http_proxy": "http://clear.example"}, HTTPS, None),
        ({"http_proxy": "http://clear.example"}, "http://127.0.0.1:8080/current/", None),
        ({"all_proxy": "http://every.example"}, "http://127.0.0.1:8080/current/", None),
    ],
)
def test_proxy_of_the_environment_never_sees_what_goes_in_the_clear(
    environment: dict[str, str], address: str, expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert proxy_to(httpx.URL(address)) == expected
