"""`/metrics`: the mount's metrics and those of its process, in the text format of Prometheus."""

from collections.abc import Iterable

import trio
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from mountfs.daemon.viewers.listener import AskMount
from mountfs.daemon.viewers.metrics import MountMetrics


class _Collected(Collector):
    """What the mount knew at one moment, taken on its thread."""

    def __init__(self, ask: AskMount, metrics: MountMetrics) -> None:
        self._ask = ask
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._ask.now(lambda: list(self._metrics.collect()))

    def describe(self) -> Iterable[Metric]:
        """Nothing is asked when it is registered."""
        return ()


def metrics_route(ask: AskMount, metrics: MountMetrics) -> Route:
    registry = CollectorRegistry()
    registry.register(_Collected(ask, metrics))
    ProcessCollector(registry=registry)

    def answer(request: Request) -> Response:
        try:
            return Response(generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})
        except (trio.RunFinishedError, trio.Cancelled):
            return PlainTextResponse("the mount does not answer", 503)

    return Route("/metrics", answer)
