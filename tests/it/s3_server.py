"""An S3 server in memory on 127.0.0.1:PORT, one request at a time: moto looks whether a key is there and then puts it,
which is one step, as it is in S3, only when no other request comes between."""

import sys

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import run_simple

run_simple("127.0.0.1", int(sys.argv[1]), DomainDispatcherApplication(create_backend_app), threaded=False,
           request_handler=MotoRequestHandler)
