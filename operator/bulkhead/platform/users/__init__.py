"""People and the programs that act for them: who they are, what they may do, and who says so."""
