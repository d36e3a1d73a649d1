"""Prometheus metrics. The catalogue is the one place that knows them; `docs/reference/metrics.md` has it."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from mountfs.daemon.running import Status
from mountfs.rules.happenings import Kind
from mountfs.rules.latency import BOUNDS_S, Histogram


@dataclass(frozen=True, slots=True)
class Described:
    """One metric. `unit` is that of its value; names end in `_total` where it only grows."""

    name: str
    kind: str
    unit: str
    meaning: str
    labels: tuple[str, ...] = ()


CATALOGUE: Final = (
    Described("mountfs_info", "gauge", "1", "always 1; the labels say what runs", ("version", "workspace")),
    Described("mountfs_online", "gauge", "0 or 1", "whether the workspace answers"),
    Described("mountfs_feed_live", "gauge", "0 or 1", "whether changes of other hosts are told as they come"),
    Described("mountfs_cache_used_bytes", "gauge", "bytes", "disk use of the content in the cache"),
    Described("mountfs_cache_limit_bytes", "gauge", "bytes", "`cache_size`"),
    Described("mountfs_cache_dirty_bytes", "gauge", "bytes", "content that the workspace does not have yet"),
    Described("mountfs_cache_files", "gauge", "files", "files with content in the cache"),
    Described("mountfs_uploads_pending", "gauge", "changes", "changes that the workspace does not have yet"),
    Described("mountfs_uploads_pending_bytes", "gauge", "bytes", "content among them"),
    Described("mountfs_uploads_active", "gauge", "uploads", "uploads under way"),
    Described("mountfs_uploads_failed", "gauge", "changes", "changes that cannot be sent"),
    Described("mountfs_sent_bytes_total", "counter", "bytes", "content that the workspace took"),
    Described("mountfs_fetched_bytes_total", "counter", "bytes", "content that came from the workspace"),
    Described("mountfs_locks_held", "gauge", "files", "files with holders of locks on this mount"),
    Described("mountfs_locks_waiting", "gauge", "programs", "waiters for locks on this mount"),
    Described("mountfs_leases_lost_total", "counter", "locks", "locks that were lost while relied on"),
    Described("mountfs_conflicts", "gauge", "conflicts", "conflicts that nobody has resolved"),
    Described("mountfs_pinned", "gauge", "paths", "files and folders that are pinned"),
    Described(
        "mountfs_events_total", "counter", "events", "what happened, as `.mountfs/events` tells", ("event",)
    ),
    Described(
        "mountfs_kernel_requests_total",
        "counter",
        "requests",
        "requests of the kernel; what it answers by itself is not among them",
        ("operation",),
    ),
    Described(
        "mountfs_kernel_request_seconds",
        "histogram",
        "seconds",
        "from the begin of such a request to its answer",
        ("operation",),
    ),
    Described(
        "mountfs_workspace_requests_total",
        "counter",
        "requests",
        "requests to the workspace, by method and route",
        ("route",),
    ),
    Described(
        "mountfs_workspace_request_seconds",
        "histogram",
        "seconds",
        "from such a request to its answer; without those that got none, or may be held by the workspace",
        ("route",),
    ),
)

_BY_NAME: Final = {described.name: described for described in CATALOGUE}
_Values = Mapping[tuple[str, ...], float]


class MountMetrics:
    """A collector of prometheus_client: what it yields is what the mount knows at that moment."""

    def __init__(
        self,
        status: Callable[[], Status],
        events: Callable[[], Mapping[Kind, int]],
        latencies: Callable[[], Mapping[str, Histogram]],
        workspace_latencies: Callable[[], Mapping[str, Histogram]],
    ) -> None:
        """`latencies`: of the kernel's requests, by operation. `workspace_latencies`: by route."""
        self._status = status
        self._events = events
        self._latencies = latencies
        self._workspace_latencies = workspace_latencies

    def collect(self) -> Iterator[Metric]:
        status = self._status()
        for name, values in _plain(status, self._events()).items():
            yield _family(_BY_NAME[name], values)
        yield _histogram(_BY_NAME["mountfs_kernel_request_seconds"], self._latencies())
        yield _histogram(_BY_NAME["mountfs_workspace_request_seconds"], self._workspace_latencies())


def _plain(status: Status, events: Mapping[Kind, int]) -> dict[str, _Values]:
    cache, uploads, locks = status.cache, status.uploads, status.locks
    single = {
        "mountfs_online": status.online,
        "mountfs_feed_live": status.feed_live,
        "mountfs_cache_used_bytes": cache.used_bytes,
        "mountfs_cache_limit_bytes": cache.limit_bytes,
        "mountfs_cache_dirty_bytes": cache.dirty_bytes,
        "mountfs_cache_files": cache.files,
        "mountfs_uploads_pending": uploads.pending_count,
        "mountfs_uploads_pending_bytes": uploads.pending_bytes,
        "mountfs_uploads_active": len(uploads.active),
        "mountfs_uploads_failed": len(uploads.failed),
        "mountfs_sent_bytes_total": status.sent_bytes,
        "mountfs_fetched_bytes_total": status.fetched_bytes,
        "mountfs_locks_held": sum(bool(lock.owners) for lock in locks),
        "mountfs_locks_waiting": sum(lock.waiters for lock in locks),
        "mountfs_leases_lost_total": status.leases_lost,
        "mountfs_conflicts": status.conflicts,
        "mountfs_pinned": len(status.pinned),
    }
    return {
        "mountfs_info": {(status.version, status.workspace_name): 1},
        **{name: {(): float(value)} for name, value in single.items()},
        "mountfs_events_total": {(kind.value,): count for kind, count in events.items()},
        "mountfs_kernel_requests_total": _by_label(status.requests.kernel),
        "mountfs_workspace_requests_total": _by_label(status.requests.workspace),
    }


def _by_label(counts: Mapping[str, int]) -> _Values:
    return {(label,): count for label, count in counts.items()}


def _family(described: Described, values: _Values) -> Metric:
    family = CounterMetricFamily if described.kind == "counter" else GaugeMetricFamily
    metric = family(described.name, described.meaning, labels=described.labels)
    for labels, value in values.items():
        metric.add_metric(labels, value)
    return metric


def _histogram(described: Described, latencies: Mapping[str, Histogram]) -> Metric:
    metric = HistogramMetricFamily(described.name, described.meaning, labels=described.labels)
    for name, histogram in latencies.items():
        metric.add_metric([name], list(_cumulated(histogram.counts)), histogram.total_s)
    return metric


def _cumulated(counts: Iterable[int]) -> Iterator[tuple[str, float]]:
    total = 0
    for bound, count in zip([*map(str, BOUNDS_S), "+Inf"], counts, strict=True):
        total += count
        yield bound, total


def as_markdown() -> str:
    """Return the table of the reference."""
    rows = ["| name | type | unit | labels | meaning |", "|---|---|---|---|---|"]
    rows += [
        f"| `{each.name}` | {each.kind} | {each.unit} | {', '.join(each.labels) or 'none'} | {each.meaning} |"
        for each in CATALOGUE
    ]
    return "\n".join(rows) + "\n"
