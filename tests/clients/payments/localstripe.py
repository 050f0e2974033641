"""Serves localstripe on a loopback port, which it prints."""

import socket

from aiohttp import web
from localstripe import resources, server

# It would write its objects to a file in /tmp that all its processes share.
resources.Store.dump_to_disk = lambda store: None
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
web.run_app(server.app, sock=listener, print=None)
