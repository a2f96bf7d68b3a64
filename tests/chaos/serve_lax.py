"""`clarihook serve` whose commits don't wait for the disk: a fault that a checker must find."""

import re
import sys
from typing import Any

from receiver.cli import main
from receiver.store.driver import sqlite3

connect = sqlite3.connect


class LaxConnection(sqlite3.Connection):
    def execute(self, sql: str, *parameters: Any) -> Any:
        lax, count = re.subn(r"synchronous\s*=\s*FULL", "synchronous = NORMAL", sql)
        if count:
            print("synchronous is NORMAL", file=sys.stderr)
        return super().execute(lax, *parameters)


sqlite3.connect = lambda *arguments, **options: connect(
    *arguments, **options, factory=LaxConnection
)
sys.argv[0] = "clarihook"
main()
