"""The same, and its worker handles what was accepted."""

from relay import make_app

app = make_app(works=True)
