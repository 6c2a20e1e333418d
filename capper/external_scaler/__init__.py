"""A KEDA external scaler: KEDA asks how many replicas a workload may have under its cap."""
