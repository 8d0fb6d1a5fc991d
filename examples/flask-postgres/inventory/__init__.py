"""An inventory of parts: a page, an API and a database, which is PostgreSQL where `DATABASE=postgres` and SQLite otherwise."""

import os

from flask import Flask, abort, jsonify, render_template, request
from sqlalchemy import URL, text
from sqlalchemy.exc import IntegrityError

from .models import Part, database


def database_url() -> str | URL:
    if os.environ.get("DATABASE") != "postgres":
        return "sqlite:///" + os.environ.get("SQLITE_PATH", "inventory.sqlite3")
    return URL.create(
        "postgresql+psycopg2",
        username=os.environ.get("SQL_USER", "inventory"),
        password=os.environ.get("SQL_PASSWORD"),
        host=os.environ.get("SQL_HOST", "127.0.0.1"),
        port=int(os.environ.get("SQL_PORT", "5432")),
        database=os.environ.get("SQL_DATABASE", "inventory"),
    )


def create_app() -> Flask:
    app = Flask(__name__)
    app.config["SQLALCHEMY_DATABASE_URI"] = database_url()
    database.init_app(app)

    @app.cli.command("create-tables")
    def create_tables():
        """Makes the tables that are missing."""
        database.create_all()

    @app.get("/")
    def page():
        return render_template("inventory.html", parts=parts())

    @app.get("/health")
    def health():
        database.session.execute(text("select 1"))
        return jsonify(status="ok", database=database.engine.dialect.name, debug=app.debug)

    @app.get("/parts")
    def list_parts():
        return jsonify([part.to_dict() for part in parts()])

    @app.post("/parts")
    def add_part():
        wanted = request.get_json()
        if not isinstance(wanted, dict) or not isinstance(wanted.get("name"), str) or not wanted["name"]:
            abort(400, "a part needs a name")
        if not isinstance(wanted.get("stock", 0), int):
            abort(400, "stock is a number")
        part = Part(name=wanted["name"], stock=wanted.get("stock", 0))
        database.session.add(part)
        try:
            database.session.commit()
        except IntegrityError:
            abort(409, "there is such a part already")
        return jsonify(part.to_dict()), 201

    return app


def parts() -> list[Part]:
    return list(database.session.scalars(database.select(Part).order_by(Part.name)))
