"""The console: one page, which holds no data, and what it asks first: who its token is.

Rule: the page is the same for everybody, so it is the one thing this door gives without a token; whatever it shows it
asks for as any other client does, with the token a person typed. Basic, by which a browser would ask for one itself,
was given up: browsers send what they were told to whoever's page asks them to (docs/decisions/0044). The page's policy
allows its own script and style by their hashes, requests to this door and to the bucket, and nothing else.
"""

import base64
import gzip
import hashlib
from dataclasses import dataclass
from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from importer.doors.http import Answer, Request, ok
from importer.doors.ports import Doorway
from importer.doors.tokens import in_order
from importer.model import Value

PATH: Final = "/console"
HERE: Final = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Page:
    """The page as it is sent; its tag stands for its bytes."""

    plain: bytes
    packed: bytes
    script: str  # hashes, as a policy has them
    style: str
    tag: str


def show(request: Request, door: Doorway) -> Answer:
    """GET /console: to anybody; there is nothing of anybody in it."""
    page = _page()
    headers = {
        "Content-Type": "text/html; charset=utf-8",
        "Content-Security-Policy": policy(page, _origin(door)),
        "Content-Disposition": "inline",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
        "Referrer-Policy": "no-referrer",
        "Strict-Transport-Security": "max-age=31536000",
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        "Cache-Control": "no-cache",  # kept, and asked for again each time: a deployment is seen at once
        "ETag": page.tag,
        "Vary": "Accept-Encoding",
    }
    if page.tag in request.headers.get("if-none-match", ""):
        return Answer(HTTPStatus.NOT_MODIFIED, None, headers)
    if "gzip" in request.headers.get("accept-encoding", "").lower():
        return Answer(HTTPStatus.OK, page.packed, headers | {"Content-Encoding": "gzip"})
    return Answer(HTTPStatus.OK, page.plain, headers)


def who(request: Request, door: Doorway) -> Answer:
    """GET /v1/token: what the token of this request may do, and what the datamart is called."""
    grant = request.grant
    rights: dict[str, Value] = {import_id: [*in_order(held)] for import_id, held in sorted(grant.scopes.items())}
    said = ok({"id": grant.token_id, "name": grant.name, "scopes": rights, "datamart_id": door.datamart_id})
    return Answer(said.status, said.body, {"Cache-Control": "no-store"})


def policy(page: Page, bucket_origin: str) -> str:
    """Its Content-Security-Policy."""
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src '{page.script}'",
            f"style-src '{page.style}'",
            f"connect-src 'self' {bucket_origin}",  # a file is posted straight to the bucket
            "img-src data:",  # the icon, so that no browser asks for one
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",  # no text can become markup, by whatever slip
            "trusted-types 'none'",
        )
    )


@cache
def _page() -> Page:
    """One file of three, so that it comes with one request."""
    html, style, script = ((HERE / f"console.{kind}").read_text(encoding="utf-8") for kind in ("html", "css", "js"))
    whole = html.replace("/*style*/", style).replace("/*script*/", script).encode()
    tag = f'"{hashlib.sha256(whole).hexdigest()[:32]}"'
    return Page(whole, gzip.compress(whole, 9, mtime=0), script=_hash(script), style=_hash(style), tag=tag)


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _origin(door: Doorway) -> str:
    """Where signed forms are posted to. Raises Unavailable."""
    url = urlsplit(door.forms.url(door.bucket))
    return f"{url.scheme}://{url.netloc}"
