"""How commands are carried out: `actors/repair.py` is the actor, here is what its commands do."""
