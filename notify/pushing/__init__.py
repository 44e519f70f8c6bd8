"""How a warning reaches a browser: its settings, its words, and the sender that speaks Web Push; for `notify.push`."""
