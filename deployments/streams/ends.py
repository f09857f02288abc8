"""How a stream between two parties ends early: its reader left, or its connection was lost."""


class Lost(Exception):
    """The connection ended before the stream did."""


class Left(Exception):
    """The reader has left: no more of this stream is wanted."""
