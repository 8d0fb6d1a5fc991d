import unittest

from reports.tasks import report


class ReportTest(unittest.TestCase):
    def test_words_are_counted_whatever_their_case(self):
        self.assertEqual(
            report("Row, row, row your boat"),
            {"characters": 23, "words": 5, "most_common": [("row", 3), ("your", 1), ("boat", 1)]},
        )

    def test_an_empty_text_has_no_words(self):
        self.assertEqual(report(""), {"characters": 0, "words": 0, "most_common": []})


if __name__ == "__main__":
    unittest.main()
