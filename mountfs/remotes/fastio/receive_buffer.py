"""What h11 keeps received bytes in, without its copies of a download.

h11 appends each piece to a bytearray and cuts the body out of it twice, and httpcore makes bytes of that:
each byte is copied four times before anybody has it.
"""

from h11 import _connection, _receivebuffer


class ReceiveBuffer(_receivebuffer.ReceiveBuffer):
    """Gives a piece of a body back as it came where nothing else is in the buffer; all else is h11's."""

    def __init__(self) -> None:
        self._gathered = bytearray()
        self._alone = b""
        """The newest piece, while there is nothing before it."""
        super().__init__()

    @property
    def _data(self) -> bytearray:
        if self._alone:
            self._gathered += self._alone
            self._alone = b""
        return self._gathered

    @_data.setter
    def _data(self, gathered: bytearray) -> None:
        self._gathered = gathered

    def __iadd__(self, piece: bytes | bytearray) -> "ReceiveBuffer":
        if self._alone or self._gathered:
            self._data += piece
        else:
            self._alone = bytes(piece)
        return self

    def maybe_extract_at_most(self, count: int) -> bytes | bytearray | None:  # type: ignore[override] # what h11 does with it, bytes can do as well
        if not self._alone or len(self._alone) > count:
            return super().maybe_extract_at_most(count)
        piece, self._alone = self._alone, b""
        return piece


def install() -> None:
    """Let every connection that is made from here on use it; h11 has no setting for it."""
    _connection.ReceiveBuffer = ReceiveBuffer  # type: ignore[attr-defined] # private to h11
