"""Who runs the command, as it is noted beside what they did."""

import getpass
import os


def os_user() -> str:
    """The operating system's name of the user."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return f"user {os.getuid()}"
