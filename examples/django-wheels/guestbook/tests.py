from django.test import TestCase

from .models import Entry


class GuestbookTest(TestCase):
    def test_what_is_written_is_shown(self):
        answer = self.client.post("/", {"author": "Ada", "text": "Fair winds"}, follow=True)
        self.assertContains(answer, "Fair winds")

    def test_an_entry_without_an_author_is_refused(self):
        self.client.post("/", {"author": "", "text": "Fair winds"})
        self.assertEqual(Entry.objects.count(), 0)

    def test_health_counts_entries(self):
        Entry.objects.create(author="Ada", text="Fair winds")
        self.assertEqual(self.client.get("/healthz").json()["entries"], 1)
