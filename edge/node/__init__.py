"""The code that runs on a node for a request: Python 3.9, sent over SSH; it imports none of our other packages."""
