"""The service's objective: how soon, how often and how long sessions follow a payment with nobody's help."""

# Seconds from the payment's arrival to its sessions; the share of purchases that keeps to it; days it counts over.
WITHIN_SECONDS = 60.0
SHARE = 0.99
OVER_DAYS = 30

# Upper bounds of the classes that those seconds are counted in: closest around the objective.
BOUNDS = (
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    20.0,
    30.0,
    45.0,
    60.0,
    90.0,
    120.0,
    300.0,
    900.0,
    3600.0,
    21600.0,
    86400.0,
)
