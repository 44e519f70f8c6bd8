"""Pictures that may be shown, and how: the only place where a `Redacted` or a `Drawn` is made."""
