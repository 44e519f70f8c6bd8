"""Child processes of one machine: restarted with back-off, each with its own log, and ended with their parent."""
