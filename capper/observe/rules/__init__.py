"""Recording and alerting rules: one typed source, from which the manifests in k8s/ are made."""
