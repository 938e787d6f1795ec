"""Which notebook, which cell, how long: on a terminal and in a log."""

import sys
import threading
import time

__all__ = ["Progress"]


class Progress:
    """Which notebooks, which cells, how long: one rewritten line on a terminal, a line now and then in a log."""

    def __init__(self, names: list[str], stream=None) -> None:
        self.stream = stream or sys.stdout
        self.live = self.stream.isatty()
        self.lock = threading.Lock()
        self.heads = {name: f"[{i}/{len(names)}] {name}" for i, name in enumerate(names, start=1)}
        self.cells: dict[str, str] = {}  # of the notebooks that run now
        self.begun: dict[str, float] = {}
        self.said = time.monotonic()
        self.over = threading.Event()
        threading.Thread(target=self._tick, daemon=True).start()

    def cell(self, name: str, number: int, total: int) -> None:
        self.cells[name] = f"cell {number}/{total}" if number else "starting"
        if not number:
            self.begun[name] = time.monotonic()
            self._line([name])

    def _tick(self) -> None:
        while not self.over.wait(0.5):
            if self.cells and (self.live or time.monotonic() - self.said >= 10):
                self._line(list(self.cells))

    def _line(self, names: list[str]) -> None:
        """Say where `names` are: in a log those, on a terminal all that run, in the one line there is."""
        with self.lock:
            self.said = now = time.monotonic()
            names = list(self.cells) if self.live else names
            text = "  ·  ".join(f"{self.heads[n]}  {self.cells[n]}, {now - self.begun[n]:.0f} s" for n in names)
            self.stream.write(f"\r\x1b[2K{text}" if self.live else text + "\n")
            self.stream.flush()

    def end(self, name: str, outcome: str) -> None:
        self.cells.pop(name, None)
        with self.lock:
            self.stream.write(("\r\x1b[2K" if self.live else "") + f"{self.heads[name]}  {outcome}\n")
            self.stream.flush()

    def say_stopped(self) -> None:
        """Say of each notebook that ran that it was stopped."""
        for name in list(self.cells):
            self.end(name, "stopped")

    def close(self) -> None:
        self.over.set()
