"""Whether cooling and the bands of the racks' temperature want different things. Pure."""

from capper.api.config import Spec


def warm_bands(spec: Spec) -> str:
    """What is wrong where cooling lets inlets be so warm that their racks never leave Restrict.

    Bands are parts of `maxTemperature` in degrees Celsius, as power's are of watts, and cooling
    brings the warmest inlet to `redlineCelsius` less `marginCelsius`. Where that is not below the
    way out of Restrict a rack that once was warm stops all growth for good.

    Returns:
        One sentence; empty: nothing.
    """
    if spec.cooling is None:
        return ""
    aim_celsius = spec.cooling.redline_celsius - spec.cooling.margin_celsius
    ways_out = {
        rack.rack_id: spec.thresholds.restrict_leave_ratio * rack.max_temperature
        for rack in spec.rack_constraints
        if rack.max_temperature is not None
    }
    held = {name: celsius for name, celsius in ways_out.items() if aim_celsius >= celsius}
    if not held:
        return ""
    coldest = min(held, key=lambda name: held[name])
    way_out = held[coldest]
    return (
        f"cooling lets inlets reach {aim_celsius:g} degrees, and rack {coldest} leaves Restrict"
        f" below {way_out:g} only (restrictLeaveRatio x maxTemperature): cooling.redlineCelsius"
        f" must be below {way_out + spec.cooling.margin_celsius:g}, or nothing grows again."
    )
