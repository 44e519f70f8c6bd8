"""What runs on a node, one request at a time: plain Python 3.9, sent over SSH; it imports nothing else of ours."""
