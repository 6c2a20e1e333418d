"""Where decisions become writes: one adapter for each kind of place that holds replicas."""
