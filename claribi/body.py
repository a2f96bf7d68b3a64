"""The body of an answer: collected, unpacked and capped."""

import zlib

import httpx2

from claribi.answers import Reply


class BadAnswerError(Exception):
    """A complete answer came that can't be taken: too large, or badly compressed."""

    def __init__(self, text: str, reply: Reply) -> None:
        super().__init__(text)
        self.reply = reply
        """Its status and headers, with an empty body."""


class Body:
    """Collects a body. The cap counts decompressed bytes, so that no small bomb passes."""

    def __init__(self, response: httpx2.Response, max_bytes: int) -> None:
        self._response = response
        self._max_bytes = max_bytes
        self._chunks: list[bytes] = []
        self._size = 0
        encoding = response.headers.get("content-encoding", "identity").strip().lower()
        if encoding not in {"identity", "gzip", ""}:
            raise self._bad(f"it came with content-encoding {encoding!r}, which was not asked for")
        self._gunzip = zlib.decompressobj(zlib.MAX_WBITS | 16) if encoding == "gzip" else None

    def feed(self, chunk: bytes) -> None:
        """Take a piece as it came; raises BadAnswerError."""
        if self._gunzip is not None:
            try:
                # One byte over what is left suffices to see that it is too much.
                chunk = self._gunzip.decompress(chunk, self._max_bytes - self._size + 1)
            except zlib.error:
                raise self._bad("it is not gzip, though its header says so") from None
        self._size += len(chunk)
        if self._size > self._max_bytes:
            raise self._bad(f"it is over {self._max_bytes} bytes (max_body_bytes)")
        self._chunks.append(chunk)

    def reply(self) -> Reply:
        """The whole answer, once all pieces are taken; raises BadAnswerError."""
        if self._gunzip is not None and self._size and not self._gunzip.eof:
            raise self._bad("its gzip data end too early")
        return Reply(self._response.status_code, self._response.headers, b"".join(self._chunks))

    def _bad(self, text: str) -> BadAnswerError:
        reply = Reply(self._response.status_code, self._response.headers, b"")
        return BadAnswerError(f"the {reply.status} answer can't be read: {text}", reply)
