"""Why a server cannot start. Each message is one line that says what to do about."""


class ServerError(Exception):
    """The server cannot start."""


class ServerDataError(ServerError):
    """The data folder cannot be used: not writable, damaged, or of a newer program."""


class DataInUse(ServerError):
    """Another server works on the data folder."""


class AddressInUse(ServerError):
    """The address cannot be listened on."""


class WorkspaceNameRefused(ServerError):
    """A workspace cannot have the name it was asked for."""
