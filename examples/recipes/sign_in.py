"""The sign-in page of a shop whose buyers use the pages of Holdfast.

It signs a token for the buyer of its own session and hands it over in the fragment of the page that
the buyer came from. Needs Python 3.11 or later and no packages.

HOLDFAST_BUYER_SECRET=… HOLDFAST_ORIGIN=https://drops.example [PORT=…] python3 sign_in.py

Holdfast's setting: HOLDFAST_SIGN_IN_URL=https://shop.example/sign-in
Left out, because each shop has its own: the log-in. Here each new visitor is a new customer.
"""

import hmac
import json
import os
import time
import uuid
from base64 import urlsafe_b64encode
from http.cookies import SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urljoin, urlsplit

SECRET = os.environ["HOLDFAST_BUYER_SECRET"]
ORIGIN = os.environ["HOLDFAST_ORIGIN"]

# An hour. The pages ask for a new sign-in after it.
SECONDS = 3600

# The buyer of each session.
sessions: dict[str, str] = {}


def buyer_token(buyer_id: str) -> str:
    claims = {"sub": buyer_id, "exp": int(time.time()) + SECONDS}
    parts = [{"alg": "HS256", "typ": "JWT"}, claims]
    signed = b".".join(encoded(json.dumps(part).encode()) for part in parts)
    return b".".join([signed, encoded(hmac.digest(SECRET.encode(), signed, "sha256"))]).decode()


def encoded(part: bytes) -> bytes:
    return urlsafe_b64encode(part).rstrip(b"=")


def page_of(return_to: str) -> str | None:
    """Returns the page to return to, without a fragment.

    Only pages of Holdfast get a token: a return to any other address would give the buyer's token
    to the author of the link.
    """
    if any(character <= " " or character == "\\" for character in return_to):
        # Browsers repair such addresses, and arrive elsewhere than this program thinks.
        return None
    try:
        page = urlsplit(urljoin(f"{ORIGIN}/", return_to))
    except ValueError:
        return None
    if f"{page.scheme}://{page.netloc}" != ORIGIN:
        return None
    return page._replace(fragment="").geturl()


class Shop(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        url = urlsplit(self.path)
        [return_to] = parse_qs(url.query).get("return_to", ["/"])[:1]
        page = page_of(return_to) if url.path == "/sign-in" else None
        if page is None:
            self.send_error(404)
            return
        session = self.session()
        self.send_response(303)
        self.send_header("Location", f"{page}#token={buyer_token(sessions[session])}")
        # No cache may keep the token, and no page that follows may name this one.
        self.send_header("Cache-Control", "no-store")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("Set-Cookie", f"shop={session}; HttpOnly; SameSite=Lax; Path=/")
        self.end_headers()

    def session(self) -> str:
        """Returns the session of the request, with a new buyer if there is none."""
        cookie = SimpleCookie(self.headers.get("Cookie", "")).get("shop")
        if cookie is not None and cookie.value in sessions:
            return cookie.value
        made = str(uuid.uuid4())
        sessions[made] = f"customer-{len(sessions) + 1}"
        return made


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", "0"))), Shop)
    print(f"listening on http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()
