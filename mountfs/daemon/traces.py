"""OpenTelemetry: spans of sending and of requests, to a collector that speaks OTLP over HTTP."""

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

from mountfs import __version__
from mountfs.daemon.errors import ConfigurationRefused
from mountfs.daemon.settings import MountSettings
from mountfs.model import tracing

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer


class OpenTelemetryTracer:
    """Implements `mountfs.model.tracing.Tracer`. Contexts follow trio's tasks, as context variables do."""

    def __init__(self, tracer: "Tracer") -> None:
        self._tracer = tracer

    def span(self, name: str, details: dict[str, str | int]) -> AbstractContextManager[object]:
        attributes = {f"mountfs.{key}": value for key, value in details.items()}
        span: AbstractContextManager[object] = self._tracer.start_as_current_span(name, attributes=attributes)
        return span


@contextmanager
def traced(settings: MountSettings) -> Iterator[None]:
    """Send spans within the block to `traces_url`; nothing is imported where that is empty.

    Leaving the block sends what waits, for a few seconds at most: to be left outside of the event loop.
    Raises ConfigurationRefused where the libraries are not there.
    """
    if not settings.traces_url:
        yield
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise ConfigurationRefused(
            "traces_url needs libraries that are not installed",
            hint=f"{sys.executable} -m pip install 'mountfs[traces]'",
        ) from error
    about = {
        "service.name": "mountfs",
        "service.version": __version__,
        "mountfs.workspace": settings.workspace,
    }
    provider = TracerProvider(resource=Resource.create(about))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=settings.traces_url, timeout=5)))
    tracing.install(OpenTelemetryTracer(provider.get_tracer("mountfs", __version__)))
    try:
        yield
    finally:
        tracing.install(None)
        provider.shutdown()
