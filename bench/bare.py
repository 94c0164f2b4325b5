"""The peer: the smallest Flask application."""

from flask import Flask

app = Flask(__name__)


@app.get("/")
def index() -> str:
    """Answer a few bytes."""
    return "<!doctype html><title>bare</title>"
