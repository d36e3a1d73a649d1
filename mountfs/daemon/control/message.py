"""What all messages of the control protocol have in common."""

from pydantic import BaseModel, ConfigDict


class Message(BaseModel):
    """One line of JSON; bytes travel as base64."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        ser_json_bytes="base64",
        val_json_bytes="base64",
        hide_input_in_errors=True,
    )

    def to_line(self) -> bytes:
        return self.model_dump_json().encode() + b"\n"


class OnePath(Message):
    """About what is at `path`, which is relative to the root of the mount."""

    path: bytes


class Below(Message):
    """About what is at and below `path`, which is relative to the root of the mount; None: everything."""

    path: bytes | None
