"""Signature Version 4 of calls that differ in body and time alone.

Rule: docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html, for `POST /` without a query.
What is the same from call to call is made once: the key, which changes at midnight (UTC), and all of the texts but for
two hashes, which change every second.
"""

import hashlib
import hmac
import time
from collections.abc import Mapping
from typing import Final

ALGORITHM: Final = "AWS4-HMAC-SHA256"


class Signer:
    """Signs calls of one operation with one set of credentials.

    Args:
        headers: those that are signed, by their names in lower case, but for date and token.
        token: "" where the credentials have none.
    """

    def __init__(
        self, access_key: str, secret_key: str, token: str, region: str, service: str, headers: Mapping[str, str]
    ) -> None:
        self._access_key = access_key
        self._secret_key = secret_key
        self._token = token
        self._region = region
        self._service = service
        self._headers = {name: " ".join(value.split()) for name, value in headers.items()}
        self._second = self._day = -1
        self._key = self._canonical = self._to_sign = self._lines = b""

    def lines(self, body: bytes, second: int) -> bytes:
        """The header lines that date and sign a call, each with its line end.

        Args:
            second: of the call, since 1970.
        """
        if second != self._second:
            self._begin(second)
        canonical = self._canonical + hashlib.sha256(body).hexdigest().encode()
        to_sign = self._to_sign + hashlib.sha256(canonical).hexdigest().encode()
        return self._lines + hmac.digest(self._key, to_sign, "sha256").hex().encode() + b"\r\n"

    def _begin(self, second: int) -> None:
        """All that the calls of a second share."""
        at = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(second))
        scope = f"{at[:8]}/{self._region}/{self._service}/aws4_request"
        if second // 86_400 != self._day:
            key = f"AWS4{self._secret_key}".encode()
            for part in scope.split("/"):
                key = hmac.digest(key, part.encode(), "sha256")
            self._key, self._day = key, second // 86_400
        headers = self._headers | {"x-amz-date": at}
        token = f"X-Amz-Security-Token: {self._token}\r\n" if self._token else ""
        if self._token:
            headers["x-amz-security-token"] = " ".join(self._token.split())
        names = ";".join(sorted(headers))
        canonical = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
        self._canonical = f"POST\n/\n\n{canonical}\n{names}\n".encode()
        self._to_sign = f"{ALGORITHM}\n{at}\n{scope}\n".encode()
        self._lines = (
            f"X-Amz-Date: {at}\r\n{token}"
            f"Authorization: {ALGORITHM} Credential={self._access_key}/{scope}, SignedHeaders={names}, Signature="
        ).encode()
        self._second = second
