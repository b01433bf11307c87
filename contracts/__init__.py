"""The messages of every topic, as they stand on the wire."""
