"""PostgreSQL: set-based statements, migrations, invariants."""
