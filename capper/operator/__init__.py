"""The loop's surroundings: where configurations come from, what is measured, what is reported."""
