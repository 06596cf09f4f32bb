"""Small mistakes to plant in the journal: the model test must find each of them, or it proves less than it says."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import streaming.spool.journal
import wellos.spool_format

__all__ = ["MUTANTS", "ORIGINAL", "Build", "Mutant", "build"]

_ROOT = Path(__file__).parents[2]
_MODULES = (
    "wellos.spool_format",
    "streaming.spool.files",
    "streaming.spool.kept",
    "streaming.spool.reader",
    "streaming.spool.journal",
)


@dataclass(frozen=True)
class Build:
    """A journal and the classes by which its user knows what it says."""

    Journal: Any
    SpoolFullError: Any
    Lost: Any


ORIGINAL = Build(streaming.spool.journal.Journal, streaming.spool.journal.SpoolFullError, wellos.spool_format.Lost)


@dataclass(frozen=True)
class Mutant:
    """One mistake, as a difference: lines that begin with `-` are in the module once, and become those with `+`."""

    what: str
    module: str
    difference: str

    def plant(self, source: str) -> str:
        """Return the source with the mistake."""
        lines = self.difference.strip("\n").split("\n")
        old, new = ("".join(line[1:] + "\n" for line in lines if line[0] == sign) for sign in "-+")
        assert source.count(old) == 1, f"{self.what}: its place in {self.module} is gone, or there are several"
        return source.replace(old, new)


def build(mutant: Mutant) -> Build:
    """Return the journal with the mistake in it; the real one stays as it is."""
    real = {name: import_module(name) for name in _MODULES}
    made: dict[str, ModuleType] = {}
    try:
        for name in _MODULES:
            source = (_ROOT / (name.replace(".", "/") + ".py")).read_text(encoding="utf-8")
            if name == mutant.module:
                source = mutant.plant(source)
            module = sys.modules[name] = made[name] = ModuleType(name)
            package, _, attribute = name.rpartition(".")
            setattr(sys.modules[package], attribute, module)
            exec(compile(source, name, "exec"), module.__dict__)  # noqa: S102 - our own source, changed
    finally:
        for name, module in real.items():
            sys.modules[name] = module
            package, _, attribute = name.rpartition(".")
            setattr(sys.modules[package], attribute, module)
    journal, spool_format = made["streaming.spool.journal"], made["wellos.spool_format"]
    return Build(journal.Journal, journal.SpoolFullError, spool_format.Lost)


_JOURNAL, _FILES, _READER = "streaming.spool.journal", "streaming.spool.files", "streaming.spool.reader"
_KEPT, _FORMAT = "streaming.spool.kept", "wellos.spool_format"

MUTANTS = (
    Mutant(
        "no fsync of frames",
        _JOURNAL,
        """
-            os.fdatasync(self._descriptor)
+            pass
""",
    ),
    Mutant(
        "no fsync of a new file",
        _FILES,
        """
-        os.fsync(descriptor)
-        sync_folder(path.parent)
+        sync_folder(path.parent)
""",
    ),
    Mutant(
        "no fsync of the folder of a new segment",
        _FILES,
        """
-        sync_folder(path.parent)
""",
    ),
    Mutant(
        "no seal after a write error",
        _JOURNAL,
        """
-                raise
-            self._sealed = True
+                raise
""",
    ),
    Mutant(
        "no seal after an fsync error",
        _JOURNAL,
        """
-            os.fdatasync(self._descriptor)
-        except OSError as error:
-            self._sealed = True
+            os.fdatasync(self._descriptor)
+        except OSError as error:
""",
    ),
    Mutant(
        "fsync again on the same file",
        _JOURNAL,
        """
-            except _SealedError:
-                self._open_segment(first_seq)
+            except _SealedError:
""",
    ),
    Mutant(
        "a fatal error is forgotten",
        _JOURNAL,
        """
-            self._dead = True
+            pass
""",
    ),
    Mutant(
        "a second process gets in",
        _FILES,
        """
-        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
+        pass
""",
    ),
    Mutant(
        "segments removed before the cursor is on disk",
        _JOURNAL,
        """
-            self._cursor.sync()
+            pass
""",
    ),
    Mutant(
        "one cursor slot",
        _FILES,
        """
-        slot = self._generation % 2 * CURSOR_SLOT
+        slot = 0
""",
    ),
    Mutant(
        "what found no room is forgotten",
        _JOURNAL,
        """
-                if not gone:
-                    raise
+                if not gone:
+                    self._queue.clear()
+                    raise
""",
    ),
    Mutant(
        "the quota is not looked at",
        _JOURNAL,
        """
-            if self.used_bytes + size > self.quota_bytes and not beyond_quota:
+            if self.used_bytes > self.quota_bytes * 2 and not beyond_quota:
""",
    ),
    Mutant(
        "kept segments are not part of the quota",
        _JOURNAL,
        """
-            gone = self._kept.release(over)
+            gone = self._kept.release(0)
""",
    ),
    Mutant(
        "reads beyond what is synced",
        _READER,
        """
-            closed, end = self.current.closed, self.current.end  # in this order: closing never moves `end`
+            closed, end = self.current.closed, self.current.path.stat().st_size
""",
    ),
    Mutant(
        "a rewritten frame is handed out twice",
        _READER,
        """
-        if item.header.seq < self.expected:
+        if item.header.seq < 0:
""",
    ),
    Mutant(
        "no statement of loss in front of a frame",
        _READER,
        """
-        yield from self._lose_until(item.header.seq, item.header.received_us)
""",
    ),
    Mutant(
        "no statement of loss in front of a segment",
        _READER,
        """
-            if self.expected < self.current.first_seq:
+            if self.expected < 0:
""",
    ),
    Mutant(
        "a loss is stated twice",
        _READER,
        """
-            self.expected = last + 1
+            self.expected = last
""",
    ),
    Mutant(
        "the checksum of a payload is not looked at",
        _FORMAT,
        """
-    if crc32(memoryview(data)[start:end]) != payload_crc:
+    if payload_crc < 0:
""",
    ),
    Mutant(
        "the checksum of a header is not looked at",
        _FORMAT,
        """
-    if fields[0] != FRAME_MAGIC or fields[-1] != crc32(memoryview(data)[at : at + FRAME.size - _CRC]):
+    if fields[0] != FRAME_MAGIC:
""",
    ),
    Mutant(
        "no resync after damage",
        _FORMAT,
        """
-        if _header_at(data, at) is not None:
-            return at
+        return None
""",
    ),
    Mutant(
        "the sequence of a damaged last frame is given out again",
        _JOURNAL,
        """
-        return next_seq + trailing
+        return next_seq
""",
    ),
    Mutant(
        "the name of the last segment is not looked at",
        _JOURNAL,
        """
-            next_seq = max(next_seq, item.first_seq)
""",
    ),
    Mutant(
        "a damaged segment is removed",
        _JOURNAL,
        """
-            if segment.damaged and not segment.aside:
-                segment.aside = files.link_aside(segment.path)
+            segment.aside = True
""",
    ),
    Mutant(
        "a rewind begins one too late",
        _JOURNAL,
        """
-            self._reader = Reader(self._segments, seq + 1)
+            self._reader = Reader(self._segments, seq + 2)
""",
    ),
    Mutant(
        "a rewind leaves a kept segment behind",
        _KEPT,
        """
-        while self._held and end_seq > seq:
+        while self._held and end_seq > seq + 1:
""",
    ),
    Mutant(
        "a segment that is not stored counts as kept",
        _JOURNAL,
        """
-            if n + 1 < len(found) and found[n + 1].first_seq <= self._cursor.seq + 1:
+            if n + 1 < len(found) and found[n + 1].first_seq <= self._cursor.seq + 2:
""",
    ),
)
