"""A message's attachments as Apprise takes them: bytes in memory, never a path or URL of others."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

from apprise.attachment.memory import AttachMemory as _AttachMemory

from receiver.model import Message
from receiver.notify import content

AttachMemory: Any = _AttachMemory
"""Without types of its own."""


class _InMemory(AttachMemory):  # type: ignore[misc]
    """Also for plugins that open the attachment's path (Matrix, `form://`, Mailgun, …).

    Apprise's own class gives them the attachment's mere *name*, so they would send whatever file
    of that name lies in the working directory.
    """

    file: IO[bytes] | None = None

    @property
    def path(self) -> str | None:
        """Of a file that holds the bytes; made when it is asked for."""
        if not self.exists():
            return None
        if self.file is None:
            self.file = _anonymous_file()
            self.file.write(self._data.getvalue())
            self.file.flush()
        name = self.file.name
        return f"/proc/self/fd/{name}" if isinstance(name, int) else name


def _anonymous_file() -> IO[bytes]:
    if not hasattr(os, "memfd_create"):
        return tempfile.NamedTemporaryFile()
    # In memory: a container's file system may be read-only.
    return os.fdopen(os.memfd_create("attachment"), "w+b")


@contextmanager
def attached(message: Message, service: Any) -> Iterator[list[Any]]:
    """The attachments for the service, for as long as the block lasts; none if it takes none."""
    attachments: list[_InMemory] = []
    if service.attachment_support:
        attachments = [
            _InMemory(
                content=each.content,
                name=content.file_name(each.name),
                mimetype=content.media_type(each.content_type),
                asset=service.asset,
            )
            for each in message.attachments
            if each.content
        ]
    try:
        yield attachments
    finally:
        for each in attachments:
            if each.file is not None:
                each.file.close()
