"""Our signature is botocore's, byte for byte."""

import datetime
from unittest import mock

import botocore.auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from importer.aws.signing import Signer

words = st.text(st.characters(codec="ascii", exclude_categories=["Cc", "Zs"], exclude_characters="/"), min_size=1)
hosts = st.sampled_from(["dynamodb.us-east-1.amazonaws.com", "localhost:8000", "127.0.0.1:1", "[::1]:8000", "h:4430"])
seconds = st.integers(0, 4_102_444_799)  # to 2099


@given(
    body=st.binary(min_size=1, max_size=300),
    times=st.lists(seconds, min_size=1, max_size=4),
    access_key=words,
    secret_key=st.text(min_size=1),
    token=st.one_of(st.none(), words),
    region=st.from_regex(r"\A[a-z]{2}-[a-z]{4,9}-[1-9]\Z"),
    service=st.sampled_from(["dynamodb", "firehose"]),
    host=hosts,
    target=words,
)
def test_a_call_is_signed_as_botocore_signs_it(
    body: bytes,
    times: list[int],
    access_key: str,
    secret_key: str,
    token: str | None,
    region: str,
    service: str,
    host: str,
    target: str,
):
    """Whatever is signed, with whatever key, one call after another, and the clock set back."""
    headers = {"Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": target}
    signed = {name.lower(): value for name, value in headers.items()} | {"host": host}
    ours = Signer(access_key, secret_key, token or "", region, service, signed)
    theirs = botocore.auth.SigV4Auth(Credentials(access_key, secret_key, token), service, region)
    for second in times:
        request = AWSRequest("POST", f"http://{host}/", dict(headers), body)
        now = datetime.datetime.fromtimestamp(second, datetime.UTC)
        with mock.patch.object(botocore.auth, "get_current_datetime", return_value=now):
            theirs.add_auth(request)
        added = {name: value for name, value in request.headers.items() if name not in headers}
        lines = ours.lines(body, second).decode()
        assert lines.endswith("\r\n")
        assert dict(line.split(": ", 1) for line in lines[:-2].split("\r\n")) == added
