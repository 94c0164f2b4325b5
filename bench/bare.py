"""The peers: the smallest Flask applications."""

import os
from datetime import UTC, datetime

from flask import Flask, Response, jsonify, request
from sqlalchemy import BigInteger, Column, DateTime, Integer, LargeBinary, MetaData, String, Table

from portal.db import Database

app = Flask(__name__)


@app.get("/")
def index() -> str:
    """Answer a few bytes."""
    return "<!doctype html><title>bare</title>"


ROWS = Table(
    "bare_delivery",
    MetaData(),
    Column("id", BigInteger().with_variant(Integer(), "sqlite"), primary_key=True),
    Column("key", String(100), nullable=False),
    Column("received_at", DateTime(timezone=True), nullable=False),
    Column("body", LargeBinary, nullable=False),
)


def inserting() -> Flask:
    """Return one that stores each request in a row: the same driver, pool and durability as the portal."""
    database = Database(os.environ["BARE_DATABASE_URL"])
    engine = database.engine.execution_options(gatehouse_writes=True)
    ROWS.metadata.create_all(engine)
    database.close()
    peer = Flask(__name__)

    @peer.post("/webhooks/gitlab/<name>")
    def receive(name: str) -> Response:
        key = request.headers.get("Idempotency-Key", "")
        with engine.begin() as connection:
            connection.execute(
                ROWS.insert(), {"key": key, "received_at": datetime.now(UTC), "body": request.get_data()}
            )
        return jsonify(result="stored")

    return peer
