"""The capper's hands and eyes in a Kubernetes cluster."""
