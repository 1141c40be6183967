"""The checks of each push: with a database and a cache of their own beside them."""

import unittest

from raffle import Raffle


class WithStores(unittest.TestCase):
    def setUp(self):
        self.raffle = Raffle()
        self.raffle.migrate()
        self.raffle.query("delete from entries")
        self.raffle.cache.flushall()

    def test_a_migration_may_run_twice(self):
        self.raffle.migrate()

    def test_nobody_wins_where_nobody_entered(self):
        self.assertIsNone(self.raffle.winner())

    def test_whoever_enters_alone_wins(self):
        self.raffle.enter("Ada")
        self.assertEqual(self.raffle.winner(), "Ada")

    def test_the_number_is_kept_in_the_cache(self):
        self.raffle.enter("Ada")
        self.assertEqual(self.raffle.entries(), 1)
        self.assertEqual(self.raffle.cache.get("entries"), b"1")


if __name__ == "__main__":
    unittest.main(verbosity=2)
