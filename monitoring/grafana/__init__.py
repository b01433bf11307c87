"""The dashboard of Grafana, as code, and what has Grafana load it."""
