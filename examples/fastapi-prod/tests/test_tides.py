import unittest

from service.tides import Constituent, height


class TidesTest(unittest.TestCase):
    def test_it_is_high_water_at_the_phase(self):
        self.assertEqual(height(2, [Constituent(amplitude=1.5, speed=30, phase=60)]), 1.5)

    def test_parts_add_up(self):
        parts = [Constituent(amplitude=1, speed=30), Constituent(amplitude=0.5, speed=15)]
        self.assertEqual(height(6, parts), -1.0)


if __name__ == "__main__":
    unittest.main()
