"""The schema's history, run by `storage.schema`."""
