"""What every HTTP route takes and gives: values, so that a route is tested without a gateway.

A route is a function `(Request, place) -> Answer`. Whatever is wrong with a request is raised as a `Problem` and told
as `application/problem+json` (RFC 9457), with the remedy in `detail`. Nothing here quotes a token, a body or an address
that is a secret by itself.
"""

from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, cast

import orjson

from importer.model import Value

if TYPE_CHECKING:
    from importer.doors.tokens import Grant

JSON: Final = "application/json"
PROBLEM_JSON: Final = "application/problem+json"


@dataclass(frozen=True, slots=True)
class Request:
    """A request whose token was found to be good.

    Attributes:
        path: as it came, without the query.
        parameters: what the route's template names, decoded once: {"import_id": "42"} of `/…/{import_id}`.
        query: decoded; where a name came twice, the values joined by a comma, as API Gateway gives them.
        headers: names in lower case.
        body: as it was sent: neither base64 nor compressed any more.
        grant: what its token may do. Each route asks it.
    """

    method: str
    path: str
    parameters: dict[str, str]
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes
    grant: "Grant"

    def json(self) -> Value:
        """The body as JSON.

        Raises:
            Problem: 415 for another Content-Type, or any Content-Encoding; 400 for what is no JSON.
        """
        said = media_type(self.headers.get("content-type", ""))
        if said not in ("", JSON) and not said.endswith("+json"):
            raise Problem(
                HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
                "unsupported_media_type",
                "send the body as Content-Type: application/json",
            )
        if self.headers.get("content-encoding", "").strip().lower() not in ("", "identity"):
            raise Problem(
                HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
                "unknown_encoding",
                "send this body as it is, without Content-Encoding: rows alone may be compressed",
            )
        try:
            return cast("Value", orjson.loads(self.body))
        except orjson.JSONDecodeError as error:
            raise Problem(
                HTTPStatus.BAD_REQUEST, "not_json", f"the body is not JSON: {error.msg} at byte {error.pos}"
            ) from None


@dataclass(frozen=True, slots=True)
class Answer:
    """What a route says.

    Attributes:
        body: a JSON value, told as it is (mediarithmics' routes wrap theirs themselves, by `ok`); or bytes, which go
            out as they are under the Content-Type of `headers`; None is no body.
        headers: further ones; Content-Type is application/json unless they say another.
    """

    status: int = HTTPStatus.OK
    body: "Value | bytes" = None
    headers: dict[str, str] = field(default_factory=dict)


def ok(data: Value, status: int = HTTPStatus.OK, paging: dict[str, Value] | None = None) -> Answer:
    """An answer in mediarithmics' envelope: `{"status": "ok", "data": …}`; a list has its paging beside `data`."""
    return Answer(status, {"status": "ok", "data": data} | (paging or {}))


class Problem(Exception):
    """Why a request is not served, and what to do about it.

    Attributes:
        status: of HTTP.
        code: stable, lower case: what a program looks at, and docs/http.md explains.
        detail: a sentence for a person that names the remedy and quotes no secret.
        more: extension members of the problem document, such as {"field": "priority"}.
        headers: further headers of the answer, such as WWW-Authenticate.
    """

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        headers: dict[str, str] | None = None,
        **more: Value,
    ) -> None:
        super().__init__(detail)
        self.status = int(status)
        self.code = code
        self.detail = detail
        self.headers = headers or {}
        self.more = more

    def answer(self) -> Answer:
        document: dict[str, Value] = {
            "type": "about:blank",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "code": self.code,
            "detail": self.detail,
        }
        return Answer(self.status, document | self.more, {"Content-Type": PROBLEM_JSON, **self.headers})


def media_type(content_type: str) -> str:
    """Of a Content-Type header, lower case, without its parameters."""
    return content_type.partition(";")[0].strip().lower()
