import tempfile
import unittest
from pathlib import Path

from taskflow.store import Store


class StoreTest(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.store = Store(Path(directory.name) / "tasks.sqlite3")

    def test_a_task_is_open_until_it_is_finished(self):
        task = self.store.add("Caulk the seams")
        self.assertEqual(self.store.all(), [{"id": task["id"], "title": "Caulk the seams", "done": False}])
        self.assertTrue(self.store.finish(task["id"], True)["done"])

    def test_what_is_not_there_is_neither_finished_nor_removed(self):
        self.assertIsNone(self.store.finish(7, True))
        self.assertFalse(self.store.remove(7))


if __name__ == "__main__":
    unittest.main()
