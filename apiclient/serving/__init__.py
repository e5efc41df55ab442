"""What a part that is a client of the API serves itself: whether it is well, and figures of what it does.

Whoever asks is known by a certificate or a token, and needs a right; the API server is asked about both. Nothing in
here is imported by who serves nothing.
"""
