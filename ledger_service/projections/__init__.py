"""What readers ask for and no decision needs: made from the log by a follower, and rebuildable."""
