"""What every process of ours tells of itself: logs without secrets, and health over HTTP."""
