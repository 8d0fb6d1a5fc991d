import pytest

from inventory import create_app
from inventory.models import database


@pytest.fixture
def client(monkeypatch, tmp_path):
    monkeypatch.delenv("DATABASE", raising=False)
    monkeypatch.setenv("SQLITE_PATH", str(tmp_path / "inventory.sqlite3"))
    app = create_app()
    with app.app_context():
        database.create_all()
    return app.test_client()


def test_a_part_that_was_added_is_listed(client):
    assert client.post("/parts", json={"name": "cleat", "stock": 4}).status_code == 201
    assert client.get("/parts").get_json() == [{"id": 1, "name": "cleat", "stock": 4}]
    assert b"cleat" in client.get("/").data


def test_a_name_is_taken_once(client):
    client.post("/parts", json={"name": "cleat"})
    assert client.post("/parts", json={"name": "cleat"}).status_code == 409


@pytest.mark.parametrize("wanted", [{}, {"name": ""}, {"name": 7}, [], {"name": "cleat", "stock": "many"}])
def test_what_is_no_part_is_refused(client, wanted):
    assert client.post("/parts", json=wanted).status_code == 400
