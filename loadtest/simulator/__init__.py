"""The discrete-event simulator: pure, on a virtual clock."""
