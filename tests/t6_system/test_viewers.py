"""The metrics and the web page of a mount, over a real socket; who is let in, and what nobody gets."""

import json
import re
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
import trio
from prometheus_client.parser import text_string_to_metric_families

from mountfs.daemon.archive import VersionState
from mountfs.daemon.errors import ConfigurationRefused
from mountfs.daemon.running import Status
from mountfs.daemon.viewers import metrics, web_page
from mountfs.daemon.viewers.listener import AskMount, bind, serving
from mountfs.daemon.viewers.metrics import CATALOGUE, MountMetrics
from mountfs.daemon.viewers.metrics_route import metrics_route
from mountfs.daemon.viewers.web_page import RecentEvents, Shown, application, routes
from mountfs.model.errors import FileNotFound
from mountfs.rules.happenings import Happenings, Kind
from mountfs.rules.latency import Histogram, Latencies
from tests.t6_system.machine import REPOSITORY
from tests.t6_system.stand_in import STATUS


def _latencies() -> Latencies:
    latencies = Latencies()
    for seconds in (0.00004, 0.0007, 0.0007, 99.0):
        latencies["read"].observe(seconds)
    return latencies


def _route_latencies() -> Latencies:
    latencies = Latencies()
    latencies["GET workspace/storage/list"].observe(0.02)
    return latencies


def _samples(text: str) -> dict[str, float]:
    return {
        sample.name + json.dumps(sample.labels, sort_keys=True): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def _get(url: str, **headers: str) -> tuple[int, str, dict[str, str]]:
    def ask() -> tuple[int, str, dict[str, str]]:
        try:
            with urlopen(Request(url, headers=headers), timeout=20) as answer:
                return (
                    answer.status,
                    answer.read().decode(),
                    {k.lower(): v for k, v in answer.headers.items()},
                )
        except HTTPError as error:
            return error.code, error.read().decode(), {k.lower(): v for k, v in error.headers.items()}

    return await trio.to_thread.run_sync(ask)


def _version(name: str) -> VersionState:
    return VersionState(id=name, created_at=None, size=5, name="b.txt", author="ann", current=name == "v2")


async def _versions(path: bytes) -> list[VersionState]:
    if path != b"a/b.txt":
        raise FileNotFound("no such file")
    return [_version("v2"), _version("v1")]


def _page(status: Status = STATUS) -> tuple[Shown, Happenings]:
    happenings = Happenings(now=lambda: 0.0)
    return Shown(AskMount(), lambda: status, RecentEvents(happenings).lines, _versions), happenings


async def test_metrics_are_those_of_the_catalogue_and_tell_what_the_status_tells() -> None:
    happenings = Happenings()
    happenings.tell(Kind.CONFIRMED, b"a")
    collected = MountMetrics(lambda: STATUS, lambda: happenings.counts, _latencies, _route_latencies)
    assert [family.name for family in collected.collect()] == [
        each.name.removesuffix("_total")
        for each in sorted(CATALOGUE, key=lambda each: each.kind == "histogram")
    ]
    listener = bind("127.0.0.1:0")
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    async with serving(application([metrics_route(AskMount(), collected)], "127.0.0.1"), listener):
        code, text, headers = await _get(f"{url}/metrics")
        assert (code, headers["content-type"].split(";")[0]) == (200, "text/plain")
        assert (await _get(f"{url}/status.json"))[0] == 404
    samples = _samples(text)
    assert samples["mountfs_cache_used_bytes{}"] == STATUS.cache.used_bytes
    assert samples['mountfs_kernel_requests_total{"operation": "lookup"}'] == 9
    assert samples['mountfs_events_total{"event": "confirmed"}'] == 1
    assert samples['mountfs_kernel_request_seconds_bucket{"le": "0.001", "operation": "read"}'] == 3
    assert samples['mountfs_kernel_request_seconds_count{"operation": "read"}'] == 4
    route = '{"le": "%s", "route": "GET workspace/storage/list"}'
    buckets = [samples["mountfs_workspace_request_seconds_bucket" + route % end] for end in ("0.01", "0.025")]
    assert buckets == [0, 1]
    assert samples["process_open_fds{}"] > 0


def test_the_reference_of_metrics_is_the_catalogue() -> None:
    page = (REPOSITORY / "docs" / "reference" / "metrics.md").read_text()
    assert metrics.as_markdown() in page
    for each in CATALOGUE:
        assert re.fullmatch(r"mountfs_[a-z_]+", each.name)
        assert each.name.endswith("_total") == (each.kind == "counter")


def test_latency_is_observed_in_the_class_that_it_belongs_to() -> None:
    histogram = Histogram()
    histogram.observe(0.00005)
    histogram.observe(31.0)
    assert (histogram.counts[0], histogram.counts[-1], sum(histogram.counts)) == (1, 1, 2)


async def test_page_tells_state_activity_and_versions_and_takes_nothing_from_elsewhere() -> None:
    shown, happenings = _page()
    happenings.tell(Kind.CHANGED, b"<b>a\xff")
    happenings.tell(Kind.CONFLICT, b"second")
    listener = bind("127.0.0.1:0")
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    async with serving(application(routes(shown), "127.0.0.1"), listener):
        _, page, headers = await _get(f"{url}/")
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert not re.findall(r"https?://|//[a-z]", page)
        for name in re.findall(r'(?:src|href)="([^"]+)"', page):
            code, content, its = await _get(f"{url}/{name}")
            assert (code, its["x-content-type-options"]) == (200, "nosniff")
            assert "innerHTML" not in content
        assert json.loads((await _get(f"{url}/status.json"))[1])["workspace_name"] == "main"
        events = json.loads((await _get(f"{url}/activity.json"))[1])["events"]
        assert [each["path"] for each in events] == ["second", "<b>a\\xff"]
        told = json.loads((await _get(f"{url}/versions.json?path=/a/b.txt"))[1])["versions"]
        assert [each["id"] for each in told] == ["v2", "v1"]
        assert (await _get(f"{url}/versions.json?path=none"))[:2] == (404, "no such file")
        assert (await _get(f"{url}/versions.json?path={'a' * 5000}"))[0] == 400
        assert (await _get(f"{url}/versions.json"))[0] == 400
        assert (await _get(f"{url}/../../etc/passwd"))[0] == 404


async def test_page_answers_only_to_its_own_names_and_changes_nothing() -> None:
    shown, _ = _page()
    listener = bind("127.0.0.1:0")
    port = listener.getsockname()[1]
    async with serving(application(routes(shown), "127.0.0.1"), listener):
        assert (await _get(f"http://127.0.0.1:{port}/status.json", Host="evil.example"))[0] == 400
        assert (await _get(f"http://127.0.0.1:{port}/status.json", Host=f"localhost:{port}"))[0] == 200

        def post() -> int:
            try:
                urlopen(f"http://127.0.0.1:{port}/status.json", data=b"x", timeout=20).close()
            except HTTPError as error:
                return error.code
            return 200

        assert await trio.to_thread.run_sync(post) == 405


async def test_address_in_use_is_refused_with_its_name() -> None:
    with bind("127.0.0.1:0") as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ConfigurationRefused, match=address):
            bind(address)


async def test_page_says_so_when_the_mount_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    shown, _ = _page()

    def gone() -> Status:
        raise trio.RunFinishedError

    shown = Shown(shown.ask, gone, shown.recent, shown.versions)
    with bind("127.0.0.1:0") as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        async with serving(application(routes(shown), "127.0.0.1"), listener):
            assert (await _get(f"{url}/status.json"))[0] == 503


def test_files_of_the_page_are_installed_with_the_package() -> None:
    packaged = (REPOSITORY / "pyproject.toml").read_text()
    for path in Path(web_page.__file__).parent.glob("page.*"):
        assert f"daemon/viewers/*{path.suffix}" in packaged
