"""From Prometheus to what the capper sees, and from the capper to what people see."""
