"""How a stream between two parties ends early: its reader left, or its connection was lost."""


class Lost(Exception):
    """The connection ended before the stream did; who knows why may say it better."""


class Left(Exception):
    """The reader has left: nobody wants more of this stream."""
