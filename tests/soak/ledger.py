"""What was done and what came of it, counted; and what was going on at that time, so that errors can be judged.

An error is expected when something that was going on explains it, and only then. Who records one names the times
between which it happened; the explanation is looked for among the spans of that time.
"""

import collections
import contextlib
import threading
import time


class Span:
    """Something that goes on: its name, what it is about, when it began, and when it ended (or not yet)."""

    def __init__(self, name, about):
        self.name = name
        self.about = about
        self.begun = time.monotonic()
        self.ended = None

    def overlaps(self, since, until, linger):
        """Whether any of it, and `linger` seconds after it, is between those times."""
        return self.begun <= until and (self.ended is None or self.ended + linger >= since)


class Ledger:
    """Counts and errors. Every method may be called by any thread."""

    def __init__(self, folder):
        self.begun = time.monotonic()
        self.counts = collections.Counter()
        self.expected = collections.Counter()
        self.unexpected = collections.Counter()
        self._spans = []
        self._lock = threading.Lock()
        self._journal = (folder / "journal.log").open("w", encoding="utf-8", buffering=1)
        self._errors = (folder / "unexpected.log").open("w", encoding="utf-8", buffering=1)

    def now(self):
        """Seconds since the start, for people."""
        return time.monotonic() - self.begun

    def count(self, what, by=1):
        with self._lock:
            self.counts[what] += by

    def note(self, text):
        """One line of the journal."""
        with self._lock:
            self._journal.write(f"{self.now():8.2f} {text}\n")

    def explain(self, kind, why):
        """An error that was to be expected."""
        with self._lock:
            self.expected[f"{kind}: {why}"] += 1

    def fail(self, kind, detail):
        """An error that nothing explains."""
        with self._lock:
            self.unexpected[kind] += 1
            line = f"{self.now():8.2f} {time.strftime('%H:%M:%S')} {kind}: {detail}\n"
            self._errors.write(line)
            self._journal.write(f"UNEXPECTED {line}")

    @contextlib.contextmanager
    def span(self, name, about=None):
        """Something goes on while the block runs."""
        span = Span(name, about)
        with self._lock:
            self._spans.append(span)
        self.note(f"{name} {about or ''} begins")
        try:
            yield span
        finally:
            span.ended = time.monotonic()
            self.note(f"{name} {about or ''} ends")

    def spans(self, name, since, *, about=None, linger=0.0):
        """The spans of that name that have anything to do with the time from `since` on."""
        until = time.monotonic()
        with self._lock:
            spans = [span for span in self._spans if span.name == name and span.about == about]
        return [span for span in spans if span.overlaps(since, until, linger)]

    def during(self, name, since, **rest):
        """Whether there are any."""
        return bool(self.spans(name, since, **rest))

    def close(self):
        self._journal.close()
        self._errors.close()
