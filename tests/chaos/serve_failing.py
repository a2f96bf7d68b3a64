"""`clarihook serve` on a disk whose fsync fails from a moment on: once the file `fail` is there."""

import sys
from pathlib import Path
from typing import Any

from receiver.cli import main
from receiver.store.driver import sqlite3

connect = sqlite3.connect
FAIL = Path(sys.argv[sys.argv.index("--home") + 1], "fail")


class FailingConnection(sqlite3.Connection):
    def execute(self, sql: str, *parameters: Any) -> Any:
        if sql.startswith("INSERT INTO batch") and FAIL.exists():
            error = sqlite3.OperationalError("disk I/O error, made up")
            error.sqlite_errorname = "SQLITE_IOERR_FSYNC"
            raise error
        return super().execute(sql, *parameters)


sqlite3.connect = lambda *arguments, **options: connect(
    *arguments, **options, factory=FailingConnection
)
sys.argv[0] = "clarihook"
main()
