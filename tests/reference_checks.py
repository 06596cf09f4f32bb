"""The checks on a tag's readings in order, in plain Python, one reading at a time: what the arrays are held against."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

MINUTE = 60_000_000
HOUR = 60 * MINUTE


@dataclass
class Open:
    start: int
    last: int
    count: int
    worst: float


@dataclass
class Reference:
    """One polled pressure of known span."""

    low: float
    high: float
    floor: float
    hold: int
    z_limit: float = 4.0
    episodes: list[tuple[str, int, int | None, int, float]] = field(default_factory=list)
    """check, start, end, count, score"""
    time: int = 0
    x: float = math.nan
    time2: int = 0
    x2: float = math.nan
    hour: int = 0
    noise: float | None = None
    n: float = 0
    total: float = 0
    minutes: dict[int, list[float]] = field(default_factory=dict)
    """Values by hour."""
    sums: dict[int, tuple[int, float, float]] = field(default_factory=dict)
    """Number, mean and squared deviations of each hour."""
    since: int = 0
    last_minute: int = -9
    unusual: list[bool] = field(default_factory=list)
    closed: tuple[int, float] = (0, math.nan)
    open: dict[str, Open] = field(default_factory=dict)
    quiet: tuple[int, float] = (0, 0.0)

    def take(self, time: int, value: float, quality: int) -> None:
        if time <= self.time:
            return
        span = self.high - self.low
        beyond = max(self.low - 0.005 * span - value, value - self.high - 0.005 * span)
        if beyond > 0:
            self.find("range", time, beyond / span)
        x = value if quality == 2 and beyond <= 0 else math.nan
        if time // HOUR != self.hour:
            self.renew(time // HOUR)
        spike = self.spike(time, x, span)
        if self.time and time // MINUTE > self.time // MINUTE and math.isfinite(self.x) and not spike:
            self.close_minutes(time, span)
        self.time2, self.x2, self.time, self.x = self.time, self.x, time, x
        for check in list(self.open):
            self.expire(check, time)

    def renew(self, hour: int) -> None:
        if self.n >= 60:
            self.noise = math.sqrt(math.pi) / 2 * self.total / self.n
        fade = (23 / 24) ** min(hour - self.hour, 1000) if self.hour else 1.0
        self.n, self.total, self.hour = self.n * fade, self.total * fade, hour

    def spike(self, time: int, x: float, span: float) -> bool:
        rise = self.x - self.x2 if self.time2 and self.time - self.time2 <= self.hold else math.nan
        fall = x - self.x if self.time and time - self.time <= self.hold else math.nan
        found = False
        if self.noise is not None and rise * fall < 0:
            longest = max(self.time - self.time2, time - self.time, MINUTE) / MINUTE
            least = min(max(6 * self.noise, 0.05 * span, self.floor), 0.2 * span * longest)
            height = min(abs(rise), abs(fall))
            if height > least:
                self.find("spike", self.time, height / least)
                found = True
        if math.isfinite(fall):
            self.n += 1
            self.total += min(abs(fall), 6 * self.noise) if self.noise else abs(fall)
        return found

    def close_minutes(self, time: int, span: float) -> None:
        then, old = self.closed
        apart, limit = self.time - then, 0.2 * span * max(self.time - then, MINUTE) / MINUTE
        if then and apart <= self.hold + MINUTE and abs(self.x - old) > limit:
            self.find("rate_of_change", self.time, abs(self.x - old) / limit)
        self.closed = self.time, self.x
        for minute in range(self.time // MINUTE, min(time // MINUTE - 1, (self.time + self.hold) // MINUTE) + 1):
            self.score(minute)

    def score(self, minute: int) -> None:
        hour = minute // 60
        for key in list(self.minutes):
            if key < hour:
                values = self.minutes.pop(key)
                middle = math.fsum(values) / len(values)
                self.sums[key] = len(values), middle, math.fsum((v - middle) ** 2 for v in values)
        share = 1 - (minute % 60) / 60
        groups = [(share if key == hour - 24 else 1.0, sums) for key, sums in self.sums.items() if key >= hour - 24]
        groups += [(1.0, (1, v, 0.0)) for v in self.minutes.get(hour, [])]
        n = sum(w * number for w, (number, _, _) in groups)
        if n == 0:
            self.since = minute
        z = 0.0
        if n >= 60 and minute - self.since >= 60:
            mean = sum(w * number * middle for w, (number, middle, _) in groups) / n
            # The oldest hour's share has the mean and the spread of that whole hour.
            squares = sum(w * (inner + number * (middle - mean) ** 2) for w, (number, middle, inner) in groups)
            s = math.sqrt(squares / (n - 1))
            sigma = max(s, self.floor, 0.005 * abs(mean))
            z = (self.x - mean) / sigma if sigma else 0.0
        self.unusual = [*(self.unusual if minute == self.last_minute + 1 else [])[-2:], abs(z) >= self.z_limit]
        self.last_minute = minute
        if abs(z) >= 0.75 * self.z_limit:
            may = self.unusual[-1] and sum(self.unusual) >= 2
            self.find("z_score", minute * MINUTE, abs(z), may=may)
        self.minutes.setdefault(hour, []).append(self.x)

    def find(self, check: str, time: int, score: float, *, may: bool = True) -> None:
        self.expire(check, time)
        now = self.open.get(check)
        if now is not None:
            now.last, now.count, now.worst = time, now.count + 1, max(now.worst, score)
            return
        loud = check != "z_score" or time >= self.quiet[0] or score >= 1.2 * self.quiet[1]
        if may and loud:
            self.open[check] = Open(time, time, 1, score)

    def expire(self, check: str, time: int) -> None:
        now = self.open.get(check)
        if now is None or time - now.last <= 15 * MINUTE:
            return
        if check == "z_score":
            self.quiet = now.last + 6 * HOUR, now.worst
        end = now.last + (MINUTE if check == "z_score" else 0)
        self.episodes.append((check, now.start, end, now.count, now.worst))
        del self.open[check]

    def all(self) -> list[tuple[str, int, int | None, int, float]]:
        return self.episodes + [(check, now.start, None, now.count, now.worst) for check, now in self.open.items()]
