"""How time and power follow the GPU clock (facts of a fit; see the class)."""

from dataclasses import dataclass

_BISECTIONS = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockCurve:
    """Relative time and power at a clock, of one backend at its present mix of phases.

    With r = f / f0 and v(r) = max(v_min, 1 - v_slope * (1 - r)):

        T(f) / T(f0) = 1 - phi + phi / r
        P(f) = P_s + (P(f0) - P_s) * ((1 - x) + x * r * v^2)

    Fitted to Perseus' sweeps of an A100 (time 0.5 %, power 0.7-0.9 % error: phi 0.88-0.90, v_min
    0.80-0.83, v_slope 0.74-0.93, knee near 1100 MHz). For decode no licensed sweep exists: phi 0.1
    (0-0.3) and x 0.5 (0.3-0.8) are assumed from published optima.

    Attributes:
        base_hertz: f0, the clock without a lock.
        knee_hertz: Below it voltage does not fall any more and little is saved.
        time_share: phi, part of the time that scales with the clock.
        power_share: x, part of dynamic power that scales with it.
        static_watts: P_s of one replica.
        v_min: Lowest voltage over the one at f0.
        v_slope: Fall of voltage with the clock.
    """

    base_hertz: float
    knee_hertz: float
    time_share: float = 0.1
    power_share: float = 0.5
    static_watts: float = 0.0
    v_min: float = 0.8
    v_slope: float = 0.8

    def time_ratio(self, hertz: float) -> float:
        """T(f) / T(f0); 1 at or above f0."""
        ratio = self._ratio(hertz)
        return 1.0 - self.time_share + self.time_share / ratio

    def power_ratio(self, hertz: float) -> float:
        """Dynamic part of P(f) over that of P(f0); 1 at or above f0."""
        ratio = self._ratio(hertz)
        volts = max(self.v_min, 1.0 - self.v_slope * (1.0 - ratio))
        return 1.0 - self.power_share + self.power_share * ratio * volts * volts

    def watts(self, hertz: float, *, base_watts: float) -> float:
        """P(f) of a replica that draws `base_watts` at f0."""
        static = min(self.static_watts, base_watts)
        return static + (base_watts - static) * self.power_ratio(hertz)

    def base_watts(self, watts: float, *, hertz: float) -> float:
        """P(f0) of a replica that draws `watts` at a clock: the inverse of `watts`."""
        static = min(self.static_watts, watts)
        return static + (watts - static) / self.power_ratio(hertz)

    def hertz_within(self, limit_watts: float, *, base_watts: float) -> float:
        """The highest clock at which P(f) is within a limit; 0 where no clock is."""
        if self.watts(self.base_hertz, base_watts=base_watts) <= limit_watts:
            return self.base_hertz
        low, high = 0.0, self.base_hertz
        for _ in range(_BISECTIONS):
            middle = 0.5 * (low + high)
            fits = self.watts(middle, base_watts=base_watts) <= limit_watts
            low, high = (middle, high) if fits else (low, middle)
        return low

    def _ratio(self, hertz: float) -> float:
        return min(1.0, max(hertz, 1.0) / self.base_hertz)
