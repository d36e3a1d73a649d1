"""The envelope around each answer, and the errors a request can end with."""

import json
from typing import Any

API_VERSION = "1.0"

JsonObject = dict[str, Any]


class ApiError(Exception):
    """A refusal that the client sees: HTTP status, wire code, human text, optional params and headers."""

    def __init__(
        self,
        status: int,
        code: int,
        text: str,
        params: JsonObject | list[JsonObject] | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(text)
        self.status = status
        self.code = code
        self.text = text
        self.params = params
        self.headers = headers or {}


def invalid_field(name: str, message: str, kind: str = "invalid", code: int = 10023) -> ApiError:
    """Validation of one field failed: 406 with a row in `params`."""
    if kind == "missing":
        code = 10022
    row = {"name": name, "kind": kind, "message": message, "code": code}
    return ApiError(406, code, f"{name}: {message}", [row])


def refused(text: str, reason: str, code: int = 1605, **more: Any) -> ApiError:
    """The request is well formed, but cannot be done as things are: 406 with `params.reason`."""
    return ApiError(406, code, text, {"reason": reason, **more})


def not_found(text: str, code: int = 1609, **params: Any) -> ApiError:
    """What the request names does not exist: 404."""
    return ApiError(404, code, text, params or None)


def conflict(text: str, reason: str, **more: Any) -> ApiError:
    """Somebody else was first (lock, lost compare-and-swap): 409 with `params.reason`."""
    return ApiError(409, 1660, text, {"reason": reason, **more})


def encode_success(body: JsonObject) -> bytes:
    """The flat success envelope as bytes."""
    return _encode({"result": True, "current_api_version": API_VERSION, **body})


def encode_error(error: ApiError, resource: str) -> bytes:
    """The error envelope as bytes."""
    detail: JsonObject = {
        "code": error.code,
        "text": error.text,
        "message": error.text,
        "resource": resource,
    }
    if error.params is not None:
        detail["params"] = error.params
    return _encode({"result": False, "current_api_version": API_VERSION, "error": detail})


def _encode(body: JsonObject) -> bytes:
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
