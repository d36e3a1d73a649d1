"""Which viewers a mount has, by its settings; each address is one server, and may have both."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from mountfs.daemon.config.exposure import refuse_exposure
from mountfs.daemon.settings import MountSettings
from mountfs.rules.happenings import Happenings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.routing import Route

    from mountfs.daemon.mount_state import MountState
    from mountfs.daemon.viewers.listener import AskMount
    from mountfs.rules.latency import Histogram


@asynccontextmanager
async def viewers(
    settings: MountSettings, state: "MountState", happenings: Happenings
) -> AsyncIterator[None]:
    """Serve within the block what is switched on; nothing is imported else. Raises ConfigurationRefused where
    an address cannot be listened at."""
    addresses = {settings.metrics_listen, settings.web_listen} - {""}
    if not addresses:
        yield
        return
    refuse_exposure(settings)
    from mountfs.daemon.viewers.listener import AskMount, bind, serving
    from mountfs.daemon.viewers.web_page import application

    ask = AskMount()
    async with AsyncExitStack() as servers:
        for address in sorted(addresses):
            answering: list[Route] = []
            if address == settings.web_listen:
                answering += _page(ask, state, happenings)
            if address == settings.metrics_listen:
                answering.append(_metrics(ask, state, happenings))
            app = application(answering, address.rpartition(":")[0].strip("[]"))
            await servers.enter_async_context(serving(app, bind(address)))
        yield


def _page(ask: "AskMount", state: "MountState", happenings: Happenings) -> "list[Route]":
    from mountfs.daemon.viewers.web_page import RecentEvents, Shown, routes

    return routes(Shown(ask, state.status, RecentEvents(happenings).lines, state.archive.versions))


def _metrics(ask: "AskMount", state: "MountState", happenings: Happenings) -> "Route":
    from mountfs.daemon.viewers.metrics import MountMetrics
    from mountfs.daemon.viewers.metrics_route import metrics_route

    def latencies() -> "Mapping[str, Histogram]":
        return state.session.latencies if state.session is not None else {}

    return metrics_route(
        ask,
        MountMetrics(state.status, lambda: happenings.counts, latencies, lambda: state.workspace_latencies),
    )
