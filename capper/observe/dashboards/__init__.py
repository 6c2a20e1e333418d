"""Grafana dashboards as values, from which the JSON files in k8s/dashboards are made."""
