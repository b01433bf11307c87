"""Reading records whose header names are not UTF-8: the broker takes them, aiokafka cannot decode them.

One such record would stop its partition for good, before any code of ours sees it. There is no
public hook, so after the first one this process reads with aiokafka's own parser in Python, slower,
with such names escaped. Guarded by a test that sends one.
"""

from typing import Any

from aiokafka.consumer import fetcher
from aiokafka.record.default_records import _DefaultRecordBatchPy
from aiokafka.record.memory_records import _MemoryRecordsPy


def read_leniently() -> None:
    """From the next fetch on, escape what is not UTF-8 in the names of headers."""
    fetcher.MemoryRecords = _LenientRecords


class _Bytes(bytearray):
    """Bytes whose parts never refuse to be text."""

    def __getitem__(self, index: Any) -> Any:
        part = super().__getitem__(index)
        return _Bytes(part) if isinstance(index, slice) else part

    def decode(self, *_: Any) -> str:
        return super().decode("utf-8", "backslashreplace")


class _LenientBatch(_DefaultRecordBatchPy):  # type: ignore[misc]
    def _maybe_uncompress(self) -> None:
        super()._maybe_uncompress()
        self._buffer: bytearray = _Bytes(self._buffer)


class _LenientRecords(_MemoryRecordsPy):  # type: ignore[misc]
    def next_batch(self) -> Any:
        found = self._next_slice
        if found is None or found[self.MAGIC_OFFSET] < 2:  # noqa: PLR2004  older formats have no headers
            return super().next_batch()
        self._cache_next()
        return _LenientBatch(found)
