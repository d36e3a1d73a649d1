"""Routes of OAuth, and the page on which somebody agrees. Token answers have no envelope."""

import json
import secrets
from functools import partial
from html import escape
from typing import Any

from starlette.responses import HTMLResponse, RedirectResponse, Response

from mountfs.server import oauth, opaque_ids, received_json
from mountfs.server.credentials import Scope, digest_of
from mountfs.server.endpoint import JSON, Call, answer
from mountfs.server.envelope import ApiError, invalid_field
from mountfs.server.oauth import ConsentRequest, OAuthRefusal, Tokens

_MAX_REGISTRATION_BYTES = 64 * 1024

_NEVER_KEPT = {"cache-control": "no-store", "referrer-policy": "no-referrer"}

_PAGE = """<!doctype html><meta charset="utf-8"><title>{title}</title><h1>{title}</h1>{body}"""

_FORM = """<p><b>{client}</b> asks for {mode} access to {what}.</p>
<form method="post"><input type="hidden" name="auth_request_id" value="{request_id}">
<p><label>Your token or API key <input type="password" name="token" autocomplete="off" required></label>
{choice}<p><button name="decision" value="allow">Allow</button>
<button name="decision" value="deny" formnovalidate>Deny</button></form>"""


async def authorize(call: Call) -> Response:
    """`GET /oauth/authorize/`: keeps the request; as JSON where asked for, else the consent page."""
    request_id = opaque_ids.shown(call.services.authorizations.begin(call.query))
    page = call.request.url.replace(path=call.request.url.path.replace("/authorize/", "/consent/"))
    login_url = str(page.replace(query=f"auth_request_id={request_id}"))
    if call.query.get("response_format") == "json":
        return answer({"auth_request_id": request_id, "login_url": login_url})
    return RedirectResponse(login_url, 302)


async def consent_page(call: Call) -> Response:
    """`GET /oauth/consent/`: asks for the credential of the user."""
    request_id = call.query.get("auth_request_id", "")
    request = call.services.authorizations.request(request_id)
    names = [workspace.folder_name for workspace in call.services.workspaces]
    choice = ""
    if request.scope_type == "workspace":
        options = "".join(f"<option>{escape(name)}</option>" for name in names)
        choice = f'<p><label>Workspace <select name="workspace">{options}</select></label>'
    form = _FORM.format(
        client=escape(request.client_id),
        mode={"r": "read", "rw": "read and write", "rwa": "administrative"}[request.mode],
        what=escape(request.scope_type.replace("_", " ")),
        request_id=escape(request_id),
        choice=choice,
    )
    return _page("Sign in", form)


async def consent(call: Call) -> Response:
    """`POST /oauth/consent/`: sends the browser back with a code, or shows the code."""
    fields = await call.fields()
    authorizations, request_id = call.services.authorizations, fields.get("auth_request_id", "")
    request = authorizations.request(request_id)
    if fields.get("decision", "allow") != "allow":
        authorizations.deny(request_id)
        return RedirectResponse(oauth.redirected(request, error="access_denied"), 302)
    code = authorizations.grant(request_id, (_granted(call, request, fields),))
    if request.shows_code:
        return _page("Signed in", f"<p>Give this code to the program: <code>{escape(code)}</code></p>")
    return RedirectResponse(oauth.redirected(request, code=code), 302)


def _granted(call: Call, request: ConsentRequest, fields: dict[str, str]) -> Scope:
    principal = call.services.credentials.principal(f"Bearer {fields.get('token', '')}")
    workspace_id = ""
    if request.scope_type == "workspace":
        workspace_id = call.services.workspaces.find(fields.get("workspace", "")).id
        principal.check_member(workspace_id)
    return oauth.scope_for(request, principal, workspace_id)


def _page(title: str, body: str) -> Response:
    return HTMLResponse(_PAGE.format(title=title, body=body), headers=_NEVER_KEPT)


async def token(call: Call) -> Response:
    """`POST /oauth/token/`: tokens for a code, or for a refresh token, which changes with each use."""
    fields = await call.fields()
    try:
        tokens = await _tokens(call, fields)
    except OAuthRefusal as refusal:
        return _plain({"error": refusal.error, "error_description": refusal.description}, 400)
    services = call.services
    digest = digest_of(tokens.access)
    services.credentials.add(digest, tokens.scopes, tokens.access_expires_us, oauth.AUTH_TYPE)
    return _plain(tokens.as_json(), 200)


async def _tokens(call: Call, fields: dict[str, str]) -> Tokens:
    services, client_id = call.services, fields.get("client_id", "")
    life_s = services.options.access_token_seconds
    match fields.get("grant_type"):
        case "authorization_code":
            request, scopes = services.authorizations.redeem(fields)
            device = fields.get("device_name", "")
            return await services.database.write(
                lambda tx: oauth.open_session(tx, request.client_id, device, scopes, life_s)
            )
        case "refresh_token":
            renew = partial(
                oauth.renew_session,
                refresh=fields.get("refresh_token", ""),
                client_id=client_id,
                life_s=life_s,
            )
            tokens, ended = await services.database.write(renew)
            services.credentials.remove_key(ended)
            return tokens
    raise OAuthRefusal("unsupported_grant_type", "authorization_code or refresh_token")


def _plain(body: dict[str, Any], status: int) -> Response:
    return Response(json.dumps(body), status, headers=_NEVER_KEPT, media_type=JSON)


async def register(call: Call) -> Response:
    """`POST /oauth/register/`: a client id for whoever asks; it is no secret, and nothing is kept of it."""
    body = b""
    async for piece in call.body():
        body += piece
        if len(body) > _MAX_REGISTRATION_BYTES:
            raise ApiError(413, 1605, "the registration is too large")
    try:
        wanted = received_json.loads(body)
        uris = wanted["redirect_uris"]
        for uri in uris:
            oauth.check_redirect(uri)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise invalid_field("redirect_uris", "a JSON object with an array of addresses") from error
    return _plain(
        {
            "client_id": f"client-{secrets.token_hex(8)}",
            "client_name": wanted.get("client_name", ""),
            "redirect_uris": uris,
            "token_endpoint_auth_method": "none",
        },
        201,
    )


async def revoke(call: Call) -> Response:
    """`POST /oauth/revoke/`: the session of this token is over; an unknown token is over already."""
    fields = await call.fields()
    ended = await call.services.database.write(lambda tx: oauth.close_session_of(tx, fields.get("token", "")))
    if ended is not None:
        call.services.credentials.remove_key(ended)
    return answer({})


async def sessions(call: Call) -> Response:
    """`GET /oauth/sessions/`: those that are allowed no more than the caller."""
    principal = call.principal
    return await call.read(lambda connection: oauth.sessions_json(connection, principal))


async def delete_session(call: Call) -> Response:
    """`DELETE /oauth/sessions/{id}/`: its tokens are refused from now on."""
    principal = call.principal
    principal.check_write(None)
    session_id = opaque_ids.canonical(call.path("session"))
    ended = await call.services.database.write(lambda tx: oauth.close_session(tx, session_id, principal))
    call.services.credentials.remove_key(ended)
    return answer({})
