"""A real SMTP server for the tests: prints its port, then one line of JSON for each message."""

import asyncio
import json
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult


class Sink:
    """Takes messages; the local part of the first recipient says how it fails."""

    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("nobody@"):
            return "550 5.1.1 no such user"
        if address.startswith("later@"):
            return "451 4.3.0 try again later"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        line = {"from": envelope.mail_from, "to": envelope.rcpt_tos,
                "content": envelope.content.decode("utf-8", "replace"),
                "tls": session.ssl is not None, "login": bool(session.authenticated)}
        print(json.dumps(line), flush=True)
        return "250 queued as 7"


def login(server, session, envelope, mechanism, data):
    # Not handled: the server says 535 by itself.
    return AuthResult(success=(data.login, data.password) == (b"site", b"open sesame"),
                      handled=False)


async def main():
    mode, certificate, key = sys.argv[1:4]
    context = None
    if mode == "starttls":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)

    def session():
        return SMTP(Sink(), hostname="localhost", tls_context=context,
                    require_starttls=context is not None, authenticator=login,
                    auth_required=context is not None)

    server = await asyncio.get_running_loop().create_server(session, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    # Ends with the test, which holds the other end of stdin.
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


asyncio.run(main())
