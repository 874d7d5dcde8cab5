"""How far rounding moves a state: distances, measured noise, and the tolerance that is derived from it."""
