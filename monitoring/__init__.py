"""What watches Firstbell: Prometheus with its rules and alerts, and the dashboard of Grafana."""
