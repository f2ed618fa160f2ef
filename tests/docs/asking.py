"""Has a fork of `forking` be this process: `python -I -S asking.py SOCKET [ARGUMENT...]`.

It lends its standard files, folder, environment and arguments, and ends as the fork does. Only
what a bare interpreter has is imported: that it starts at once is what it is for.
"""

from __future__ import annotations

import json
import os
import socket
import sys

with socket.socket(socket.AF_UNIX) as server:
    server.connect(sys.argv[1])
    asked = json.dumps([sys.argv[2:], os.getcwd(), dict(os.environ)]).encode()
    sent = socket.send_fds(server, [asked], [0, 1, 2])
    assert sent == len(asked), "more than a socket takes at once"
    code = server.recv(1)
sys.exit(code[0] if code else 70)  # 70: it ended without saying how
