"""The command line for people who repair: what is parked, one purchase's journey, every command, going back."""
