"""How answers look on the wire, in all the layouts that the sources tell of. Pure.

Handlers give one layout; where the behaviour asks for another, the finished answer is rewritten here.
"""

import hashlib
import json
import re
from collections.abc import Callable
from typing import Any, Final

from mountfs.server.behaviour import Behaviour
from mountfs.server.envelope import API_VERSION, JsonObject

_SHOWN_ID: Final = re.compile(r"((?:\w+:)?)([0-9a-v]{5}(?:-[0-9a-v]{5}){4}-[0-9a-v]{4})")
_WIRE_TIME: Final = re.compile(r"(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d) UTC")
_FREE_TEXT: Final = frozenset(
    {"name", "filename", "path", "title", "short", "content", "device_name", "text"}
)
"""What people wrote: never rewritten, whatever it looks like."""

_CLASSES: Final = {
    400: 1605,
    401: 1650,
    402: 1688,
    403: 1700,
    404: 1609,
    406: 1605,
    409: 1660,
    413: 1605,
    429: 1671,
    500: 1654,
}
_SCOPE_CODES: Final = frozenset({10175, 10560, 10767, 10768, 10770})
_EXACT_IN_EVERY_GENERATION: Final = frozenset({9992, 10008, 10011, 10545})

Walked = Callable[[Any], Any]


class Shaper:
    """Rewrites answers as one behaviour wants them; `is_needed` tells whether that changes anything."""

    def __init__(self, behaviour: Behaviour) -> None:
        self._behaviour = behaviour
        default = Behaviour()
        self.is_needed = any(
            getattr(behaviour, key) != getattr(default, key)
            for key in (
                *("envelope", "result", "error_codes", "error_text", "reasons", "validation_status"),
                *("scope_status", "times", "ids", "listing", "next_cursor", "change_answer", "lock_answer"),
                *("activity", "hashes", "note_sizes", "infected", "dmca", "restricted"),
            )
        )

    def shaped(self, content: bytes, status: int, is_change: bool) -> tuple[int, bytes]:
        """Status and body of an answer; `is_change` tells of an answer to a change of a node."""
        body: JsonObject = json.loads(content)
        if body.get("result") is False:
            status = self._status(status, body["error"])
            body["error"] = self._error(body["error"], status)
            return status, _encoded(self._enveloped(body))
        payload = {key: value for key, value in body.items() if key not in ("result", "current_api_version")}
        if is_change and self._behaviour.change_answer == "nothing":
            payload = {key: value for key, value in payload.items() if key not in ("node", "folder")}
        if "lock_info" in payload and self._behaviour.lock_answer == "token":
            payload = {key: payload[key] for key in ("lock_token", "locked") if key in payload}
        payload = self._listing(self._activity(payload))
        return status, _encoded(self._enveloped({"result": True, **self._walked(payload)}))

    def _enveloped(self, body: JsonObject) -> JsonObject:
        is_success = body.pop("result")
        body.pop("current_api_version", None)
        result: object = is_success
        if self._behaviour.result == "word":
            result = "yes" if is_success else "no"
        if is_success and self._behaviour.envelope == "response":
            body = {"response": body}
        return {"result": result, "current_api_version": API_VERSION, **body}

    # Errors.

    def _status(self, status: int, error: JsonObject) -> int:
        if status == 406:
            return self._behaviour.validation_status
        if status == 403 and error["code"] in _SCOPE_CODES:
            return self._behaviour.scope_status
        return status

    def _error(self, error: JsonObject, status: int) -> JsonObject:
        if self._behaviour.error_codes == "class" and error["code"] not in _EXACT_IN_EVERY_GENERATION:
            error["code"] = str(_CLASSES.get(status, 1605))
        if self._behaviour.error_text != "both":
            error.pop("message" if self._behaviour.error_text == "text" else "text")
        params = error.get("params")
        if self._behaviour.reasons == "absent" and isinstance(params, dict):
            params.pop("reason", None)
        if isinstance(params, dict):
            error["params"] = self._walked(params)
        return error

    # Payloads.

    def _listing(self, payload: JsonObject) -> JsonObject:
        if "nodes" in payload and "pagination" in payload:
            if self._behaviour.next_cursor == "top":
                payload["pagination"].pop("next_cursor", None)
            elif self._behaviour.next_cursor == "pagination":
                payload.pop("next_cursor", None)
            if self._behaviour.listing == "items":
                payload["nodes"] = {"count": len(payload["nodes"]), "items": payload["nodes"]}
        return payload

    def _activity(self, payload: JsonObject) -> JsonObject:
        if self._behaviour.activity == "map" and isinstance(payload.get("activity"), list):
            payload["activity"] = dict.fromkeys(payload["activity"], payload["lastactivity"])
        return payload

    def _walked(self, value: Any) -> Any:
        if isinstance(value, dict):
            rewritten = {
                self._word(key): inner if key in _FREE_TEXT else self._walked(inner)
                for key, inner in value.items()
            }
            return self._node(rewritten) if "type" in rewritten and "parent" in rewritten else rewritten
        if isinstance(value, list):
            return [self._walked(inner) for inner in value]
        return self._word(value) if isinstance(value, str) else value

    def _word(self, text: str) -> str:
        if self._behaviour.times == "iso" and _WIRE_TIME.fullmatch(text):
            return _WIRE_TIME.sub(r"\1T\2Z", text)
        match = _SHOWN_ID.fullmatch(text)
        if match is None or self._behaviour.ids == "hyphens":
            return text
        bare = match[2].replace("-", "")
        return match[1] + (bare.upper() if self._behaviour.ids == "upper" else bare)

    def _node(self, row: JsonObject) -> JsonObject:
        if self._behaviour.hashes == "md5" and "hash" in row:
            # Any 32 digits that differ with the bytes: nobody can compare them with the bytes anyway.
            digest = hashlib.md5(str(row["hash"]).encode(), usedforsecurity=False).hexdigest()
            row |= {"hash": digest, "hash_algo": "md5"}
        elif self._behaviour.hashes == "absent":
            row = {key: value for key, value in row.items() if key not in ("hash", "hash_algo")}
        if row["type"] == "note" and self._behaviour.note_sizes == "absent":
            row.pop("size", None)
        flags = self._behaviour.flags_of(row["name"]) if row["type"] == "file" else ()
        row |= {flag: True for flag in flags if flag in row}
        if "infected" in flags and "virus" in row:
            row["virus"] = {"status": "scanned", "infected": True}
        return row


def _encoded(body: JsonObject) -> bytes:
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
