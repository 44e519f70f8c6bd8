"""Shared by channels: HTTP, pictures, shortening texts, settings, and finding and opening channels."""
