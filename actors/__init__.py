"""The pipeline: one file per arrow, on one runtime."""
