"""The route table: which handler answers which path."""

from starlette.routing import BaseRoute, Route, Router, WebSocketRoute
from starlette.types import ASGIApp

from mountfs.server import (
    account_routes,
    batch,
    change_routes,
    event_routes,
    lock_routes,
    note_routes,
    oauth_routes,
    openapi,
    push_routes,
    reading,
    search_routes,
    storage_routes,
    upload_routes,
    workspace_routes,
)
from mountfs.server.endpoint import BASE_PATH, Endpoint, Handler, Services

PUSH_PATH = "/api/websocket/"
_STORAGE = "/workspace/{workspace}/storage"

# The paths a mount uses most stand first: the table is searched in order.
ROUTES: tuple[tuple[str, dict[str, Handler]], ...] = (
    (_STORAGE + "/{node}/details/", {"GET": storage_routes.details}),
    (_STORAGE + "/{node}/list/", {"GET": storage_routes.list_folder}),
    (_STORAGE + "/{node}/read/", {"GET": reading.read}),
    ("/upload/", {"POST": upload_routes.create_upload, "DELETE": upload_routes.delete_uploads}),
    ("/upload/batch/", {"POST": batch.upload_batch}),
    ("/upload/details/", {"GET": upload_routes.list_uploads}),
    ("/upload/limits/", {"GET": upload_routes.limits}),
    ("/upload/algos/", {"GET": upload_routes.algorithms}),
    (
        "/upload/{upload}/chunk/",
        {
            "POST": upload_routes.put_chunk,
            "GET": upload_routes.chunk_status,
            "DELETE": upload_routes.delete_chunk,
        },
    ),
    ("/upload/{upload}/details/", {"GET": upload_routes.upload_details}),
    ("/upload/{upload}/complete/", {"POST": upload_routes.complete}),
    ("/upload/{upload}/stream/", {"POST": upload_routes.put_stream}),
    ("/upload/batch/{batch}/", {"GET": batch.batch_status}),
    ("/upload/limits/extensions/", {"GET": upload_routes.extensions}),
    ("/upload/{upload}/", {"DELETE": upload_routes.delete_upload}),
    (_STORAGE + "/{node}/update/", {"POST": storage_routes.update_node}),
    (
        _STORAGE + "/{node}/lock/",
        {"POST": lock_routes.acquire, "GET": lock_routes.status, "DELETE": lock_routes.release},
    ),
    (_STORAGE + "/{node}/lock/heartbeat/", {"POST": lock_routes.heartbeat}),
    (_STORAGE + "/{node}/createfolder/", {"POST": storage_routes.create_folder}),
    (_STORAGE + "/{node}/addfile/", {"POST": storage_routes.add_file}),
    (_STORAGE + "/{node}/createnote/", {"POST": note_routes.create_note}),
    (_STORAGE + "/{node}/updatenote/", {"POST": note_routes.update_note}),
    (_STORAGE + "/{node}/readnote/", {"GET": note_routes.read_note}),
    (_STORAGE + "/{node}/addlink/", {"POST": note_routes.add_link}),
    (_STORAGE + "/{node}/move/", {"POST": storage_routes.move}),
    (_STORAGE + "/{node}/copy/", {"POST": storage_routes.copy}),
    (_STORAGE + "/{node}/delete/", {"DELETE": storage_routes.delete}),
    (_STORAGE + "/{node}/restore/", {"POST": storage_routes.restore}),
    (_STORAGE + "/{node}/purge/", {"DELETE": storage_routes.purge}),
    (_STORAGE + "/{node}/versions/", {"GET": storage_routes.versions}),
    (_STORAGE + "/{node}/restore-version/", {"POST": storage_routes.restore_version}),
    (_STORAGE + "/{node}/requestread/", {"GET": reading.request_read}),
    (_STORAGE + "/inventory/", {"GET": storage_routes.inventory}),
    (_STORAGE + "/recent/", {"GET": storage_routes.recent}),
    (_STORAGE + "/search/", {"GET": search_routes.search_nodes}),
    ("/events/search/", {"GET": event_routes.search}),
    ("/event/{event}/details/", {"GET": event_routes.details}),
    ("/activity/poll/{entity}/", {"GET": change_routes.poll}),
    ("/websocket/auth/{entity}", {"GET": push_routes.channel_token}),
    ("/org/{org}/events/changes/", {"GET": change_routes.org_changes}),
    ("/workspace/{workspace}/details/", {"GET": account_routes.workspace_details}),
    ("/workspace/{workspace}/delete/", {"DELETE": workspace_routes.delete_workspace}),
    ("/workspaces/all/", {"GET": account_routes.list_workspaces}),
    ("/orgs/list/", {"GET": account_routes.list_orgs}),
    ("/orgs/list/external/", {"GET": account_routes.list_external_orgs}),
    ("/orgs/all/", {"GET": account_routes.list_orgs}),
    ("/org/{org}/details/", {"GET": account_routes.org_details}),
    ("/org/{org}/list/workspaces/", {"GET": account_routes.list_org_workspaces}),
    ("/org/{org}/create/workspace/", {"POST": account_routes.create_workspace}),
    ("/user/auth/check/", {"GET": account_routes.check_auth}),
    ("/user/auth/key/", {"POST": account_routes.create_key}),
    ("/user/auth/keys/", {"GET": account_routes.list_keys}),
    ("/user/auth/key/{key}/", {"DELETE": account_routes.delete_key}),
    ("/user/me/details/", {"GET": account_routes.me}),
    ("/auth/scopes/", {"GET": account_routes.scopes}),
    ("/oauth/authorize/", {"GET": oauth_routes.authorize}),
    ("/oauth/consent/", {"GET": oauth_routes.consent_page, "POST": oauth_routes.consent}),
    ("/oauth/token/", {"POST": oauth_routes.token}),
    ("/oauth/register/", {"POST": oauth_routes.register}),
    ("/oauth/revoke/", {"POST": oauth_routes.revoke}),
    ("/oauth/sessions/", {"GET": oauth_routes.sessions}),
    ("/oauth/sessions/{session}/", {"DELETE": oauth_routes.delete_session}),
    ("/system/status/", {"GET": account_routes.system_status}),
    ("/ping/", {"GET": account_routes.ping}),
)


def build_app(services: Services) -> ASGIApp:
    """The ASGI application over these services."""
    published = (*ROUTES, ("/openapi.json", {"GET": openapi.publishing(ROUTES)}))
    routes: list[BaseRoute] = [
        Route(BASE_PATH + path, Endpoint(services, handlers)) for path, handlers in published
    ]
    routes.append(WebSocketRoute(PUSH_PATH, push_routes.PushSocket(services)))
    return Router(routes, redirect_slashes=False, default=Endpoint(services, {}))
