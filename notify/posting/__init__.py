"""What channels post with, and how they are found: HTTP, pictures, words that fit, settings, opening."""
