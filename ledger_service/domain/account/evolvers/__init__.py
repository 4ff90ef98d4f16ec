"""What each kind of account event changes, as fields of the state: (state, event) -> changes."""
