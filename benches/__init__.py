"""Benches: Firstbell beside a hand-written pipeline, on one broker and one database server."""
