"""Answers that are errors."""


class RefusalError(Exception):
    """A request is answered with an error.

    Parameters
    ----------
    status : int
        Of HTTP.
    message : str
        What is wrong, and what to do about it.
    retry_after : int, optional
        Seconds after which to try again.
    last : bool
        The connection is of no use any more: its request has not been read to the end.
    dropped : str, optional
        What the metrics count it as, where it was dropped for no fault of its own.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        retry_after: int | None = None,
        last: bool = False,
        dropped: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.dropped = dropped
        self.headers: dict[str, str] = {}
        if retry_after is not None:
            self.headers["Retry-After"] = str(retry_after)
        if last:
            self.headers["Connection"] = "close"
