"""doors.uploads and aws.posting: what a signed form allows, byte for byte, and which names it is made for.

Emulators judge a policy less strictly than S3, so here it is decoded and compared whole.
"""

import hashlib
import hmac
import json
import logging
import shlex
from base64 import b64decode
from dataclasses import replace
from datetime import datetime
from functools import cache
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from botocore.exceptions import NoCredentialsError
from hypothesis import given
from hypothesis import strategies as st

from importer.aws.clients import SIGNING
from importer.aws.posting import Form, Forms
from importer.bad_rows import ObjectProblem
from importer.definitions import DEFAULT, TEXT_CSV, Definition, StoredDefinition
from importer.doors import uploads
from importer.doors.http import Answer, Problem, Request
from importer.doors.tokens import Grant, Right
from importer.doors.uploads import BadName, upload, upload_key
from importer.model import Unavailable
from importer.notification import is_import

NOW = 1_763_712_000_123  # 2025-11-21T08:00:00.123Z
SHOP = Definition(id="shop", name="The shop")
TABLES = Definition(id="tables", mime_type=TEXT_CSV)
SECRET, SESSION = "wJalrXUtnFEMI/K7MDENG", "IQoJb3JpZ2luX2VjE/+=="


def chance(count: int) -> str:
    return "ab" * count


@cache
def forms(region: str = "us-east-1") -> Forms:
    session = boto3.Session("AKIDEXAMPLE", SECRET, SESSION, region)
    return Forms(lambda: session.client("s3", config=SIGNING))


# ---- The key -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("definition", "file_name", "key"),
    [
        (SHOP, "monday.ndjson", "imports/shop/monday-20251121T080000Z-abababababab.ndjson"),
        (SHOP, "Monday 2.JSON.GZ", "imports/shop/Monday 2-20251121T080000Z-abababababab.JSON.GZ"),
        (SHOP, "accounts.7.json.zst", "imports/shop/accounts.7-20251121T080000Z-abababababab.json.zst"),
        (SHOP, ".json", "imports/shop/-20251121T080000Z-abababababab.json"),
        (SHOP, "Ä'\"\\;<>.jsonl", "imports/shop/Ä'\"\\;<>-20251121T080000Z-abababababab.jsonl"),
        (TABLES, "a.csv", "imports/tables/a-20251121T080000Z-abababababab.csv"),
        (DEFAULT, "monday.json", "imports/monday-20251121T080000Z-abababababab.json"),
    ],
)
def test_the_key_is_the_files_name_with_time_and_chance_before_its_suffix(
    definition: Definition, file_name: str, key: str
) -> None:
    """So accounts*.json still is accounts*.json, and the name a person gave can be read in what became of it."""
    assert upload_key(definition, file_name, NOW, chance) == key


@pytest.mark.parametrize(
    ("definition", "file_name", "problem", "says"),
    [
        (SHOP, "a.txt", ObjectProblem, "does not end in .json or .ndjson or .jsonl"),
        (SHOP, "a.csv", ObjectProblem, "does not end in .json"),
        (SHOP, "a.json.gz.gz", ObjectProblem, "does not end in .json"),
        (SHOP, "a.zip", ObjectProblem, "does not end in .json"),
        (SHOP, "json", ObjectProblem, "does not end in .json"),
        (TABLES, "a.json", ObjectProblem, "does not end in .csv"),
        (Definition(id="cool", format="cooladata"), "my_csv.json", ObjectProblem, "contains `csv`"),
        (SHOP, "", BadName, "no name of a file"),
        (SHOP, "..", BadName, "no name of a file"),
        (SHOP, "../other/a.json", BadName, "without its folder"),
        (SHOP, "a\n.json", BadName, "control characters"),
        (SHOP, "a\x00.json", BadName, "control characters"),
        (SHOP, "\ud800.json", BadName, "not UTF-8"),
        (SHOP, "${filename}.json", BadName, "file name has a $"),
        (Definition(id="${filename}"), "a.json", BadName, "import id has a $"),
        (SHOP, "é" * 600 + ".json", BadName, "too long by"),
    ],
)
def test_a_name_that_would_be_refused_or_is_none_gets_no_form(
    definition: Definition, file_name: str, problem: type[Exception], says: str
) -> None:
    """Before anything is uploaded, in the words the import itself would use."""
    with pytest.raises(problem) as raised:
        upload_key(definition, file_name, NOW, chance)
    assert says in str(raised.value)


@given(st.text(max_size=60), st.sampled_from([".json", ".ndjson.gz", ".JSONL", ".zst", ""]))
def test_whatever_the_name_the_key_lies_in_the_imports_own_folder_or_there_is_none(stem: str, suffix: str) -> None:
    try:
        key = upload_key(SHOP, stem + suffix, NOW, chance)
    except (ObjectProblem, BadName):
        return
    folder, _, name = key.rpartition("/")
    assert (folder, is_import(key), len(key.encode()) <= 1024) == ("imports/shop", True, True)
    assert "-20251121T080000Z-abababababab." in name


def test_two_forms_for_one_name_have_two_keys() -> None:
    keys = {upload(forms(), "b", SHOP, "a.json", 10, NOW).key for _ in range(3)}
    assert len(keys) == 3


# ---- The form ------------------------------------------------------------------------------------------------------


def policy_of(fields: dict[str, str]) -> dict[str, Any]:
    return json.loads(b64decode(fields["policy"]))


@pytest.mark.parametrize(
    ("definition", "file_name", "content_type"),
    [
        (SHOP, "mönday.ndjson", "application/x-ndjson"),
        (SHOP, "monday.json", "application/x-ndjson"),
        (SHOP, "monday.json.gz", "application/gzip"),
        (TABLES, "monday.csv.ZST", "application/zstd"),
        (TABLES, "monday.csv", "text/csv"),
    ],
)
def test_a_form_allows_one_key_one_type_a_size_and_fifteen_minutes(
    definition: Definition, file_name: str, content_type: str
) -> None:
    """J3. Every field is bound by a condition of its own, so none can be changed or added."""
    made = upload(forms(), "my-bucket", definition, file_name, 5 << 30, NOW, chance=chance)
    signed = made.fields["x-amz-date"]
    policy = policy_of(made.fields)
    conditions = policy["conditions"]
    assert conditions == [
        {"Content-Type": content_type},
        ["content-length-range", 0, 5 << 30],
        {"bucket": "my-bucket"},
        {"key": made.key},
        {"x-amz-algorithm": "AWS4-HMAC-SHA256"},
        {"x-amz-credential": f"AKIDEXAMPLE/{signed[:8]}/us-east-1/s3/aws4_request"},
        {"x-amz-date": signed},
        {"x-amz-security-token": SESSION},
    ]
    bound = {name: value for one in conditions if isinstance(one, dict) for name, value in one.items()}
    assert bound == {n: v for n, v in made.fields.items() if n not in ("policy", "x-amz-signature")} | {
        "bucket": "my-bucket"
    }
    began = f"{signed[:4]}-{signed[4:6]}-{signed[6:11]}:{signed[11:13]}:{signed[13:]}"
    assert _seconds(policy["expiration"]) - _seconds(began) in (900, 901)
    assert next(iter(made.fields)) == "key"  # S3 reads a form in its order


def _seconds(iso: str) -> float:
    return datetime.fromisoformat(iso.replace("Z", "+00:00")).timestamp()


def test_the_signature_is_the_one_s3_computes() -> None:
    """Rule: docs.aws.amazon.com/AmazonS3/latest/API/sigv4-UsingHTTPPOST.html, worked out here once more."""
    fields = upload(forms("eu-central-1"), "my-bucket", SHOP, "a.json", 10, NOW).fields
    key = b"AWS4" + SECRET.encode()
    for part in (*fields["x-amz-credential"].split("/")[1:4], "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    assert fields["x-amz-signature"] == hmac.new(key, fields["policy"].encode(), hashlib.sha256).hexdigest()


@pytest.mark.parametrize(
    ("region", "url"),
    [
        ("us-east-1", "https://my-bucket.s3.us-east-1.amazonaws.com/"),
        ("eu-central-1", "https://my-bucket.s3.eu-central-1.amazonaws.com/"),
        ("ap-southeast-5", "https://my-bucket.s3.ap-southeast-5.amazonaws.com/"),
    ],
)
def test_a_form_is_posted_to_the_buckets_own_region(region: str, url: str) -> None:
    """By S3's global name a post to a new bucket would be sent on, and curl would lose its body."""
    assert upload(forms(region), "my-bucket", SHOP, "a.json", 10, NOW).url == url


def test_a_form_never_says_that_it_lasts_longer_than_it_does() -> None:
    made = upload(forms(), "b", SHOP, "a.json", 10, NOW, 60)
    assert (made.expires_ms, made.document("a.json")["expires"]) == (
        NOW // 1000 * 1000 + 60_000,
        "2025-11-21T08:01:00Z",
    )


def test_without_credentials_there_is_no_form_and_it_says_so() -> None:
    def client() -> Any:
        def generate_presigned_post(*_: Any) -> None:
            raise NoCredentialsError

        return SimpleNamespace(generate_presigned_post=generate_presigned_post)

    with pytest.raises(Unavailable, match="cannot be signed"):
        upload(Forms(client), "b", SHOP, "a.json", 10, NOW)


def test_the_line_of_curl_is_one_command_whatever_the_names_are() -> None:
    """No name of a stranger's ends in a second command, and curl takes no field for the name of a file."""
    made = upload(forms(), "b", SHOP, "a';rm -rf ~ #.json", 10, NOW, chance=chance)
    line = made.curl('/tmp/a "b\\c";d,e.json')
    words = shlex.split(line)
    assert words[:4] == ["curl", "--fail-with-body", "--silent", "--show-error"]
    given_fields = [words[i + 1] for i, word in enumerate(words) if word == "--form-string"]
    assert given_fields == [f"{name}={value}" for name, value in made.fields.items()]
    assert words[-3:] == ["--form", 'file=@"/tmp/a \\"b\\\\c\\";d,e.json"', made.url]
    assert "\n" not in line


def test_a_form_is_no_part_of_what_is_printed_of_it() -> None:
    """Whoever logs an object by accident logs no secret (J3)."""
    made = upload(forms(), "b", SHOP, "a.json", 10, NOW)
    told = repr(made) + repr(Form(made.url, made.fields))
    secrets = [made.fields[name] for name in ("policy", "x-amz-signature", "x-amz-security-token")]
    assert not [secret for secret in secrets if secret in told]


# ---- The route -----------------------------------------------------------------------------------------------------


# Of two imports, by id.
EXECUTIONS = {
    known * 32: SimpleNamespace(id=known * 32, document_import_id=import_id)
    for known, import_id in (("a", "shop"), ("b", "tables"))
}


def door(**stored: Any) -> Any:
    kept = {"shop": SHOP.as_stored(), "broken": {"nonsense": 1}, "tables": TABLES.as_stored()} | stored

    def stored_definition(import_id: str) -> StoredDefinition | None:
        return StoredDefinition(import_id, kept[import_id], NOW, NOW) if import_id in kept else None

    return SimpleNamespace(
        datamart_id="1",
        bucket="my-bucket",
        forms=forms(),
        upload_bytes=7 << 20,
        books=SimpleNamespace(stored_definition=stored_definition),
        work=SimpleNamespace(
            clock=SimpleNamespace(now_ms=lambda: NOW),
            records=SimpleNamespace(execution=lambda known: EXECUTIONS.get(known)),
        ),
    )


GRANT = Grant("0123456789abcdef", "x", {"*": frozenset({Right.WRITE})})


def request(
    body: bytes,
    import_id: str = "shop",
    grant: Grant = GRANT,
    datamart_id: str = "1",
    content_type: str = "application/json",
) -> Request:
    parameters = {"datamart_id": datamart_id, "import_id": import_id}
    return Request("POST", "/…/uploads", parameters, {}, {"content-type": content_type}, body, grant)


def asked(*arguments: Any, **named: Any) -> Answer:
    return uploads.create_upload(request(*arguments, **named), door())


def test_the_route_answers_with_all_that_a_program_or_a_person_needs() -> None:
    answer = asked(b'{"file_name": "monday.json.gz"}')
    body: Any = answer.body
    data = body["data"]
    assert (answer.status, body["status"], answer.headers) == (201, "ok", {"Cache-Control": "no-store"})
    assert data == {
        "method": "POST",
        "url": "https://my-bucket.s3.us-east-1.amazonaws.com/",
        "fields": data["fields"],
        "key": data["fields"]["key"],
        "max_bytes": 7 << 20,
        "expires": "2025-11-21T08:15:00Z",
        "curl": data["curl"],
    }
    assert data["key"].startswith("imports/shop/monday-20251121T080000Z-")
    assert ["content-length-range", 0, 7 << 20] in policy_of(data["fields"])["conditions"]
    assert shlex.split(data["curl"])[-2:] == ['file=@"monday.json.gz"', data["url"]]


def test_a_form_prescribes_whose_bad_rows_the_file_has() -> None:
    """As metadata that nobody can change or leave out."""
    answer = asked(b'{"file_name": "monday.json", "mends": "%b"}' % (b"a" * 32))
    body: Any = answer.body
    fields = body["data"]["fields"]
    assert fields["x-amz-meta-mends"] == "a" * 32
    assert {"x-amz-meta-mends": "a" * 32} in policy_of(fields)["conditions"]


@pytest.mark.parametrize(
    ("wanted", "status", "code"),
    [
        ({"body": b""}, 400, "not_json"),
        ({"body": b"[]"}, 400, "bad_request"),
        ({"body": b"{}"}, 422, "missing_field"),
        ({"body": b'{"file_name": 7}'}, 422, "wrong_type"),
        ({"body": b'{"file_name": "a.json", "key": "imports/x"}'}, 422, "unknown_field"),
        ({"body": b'{"file_name": "a.txt"}'}, 422, "wrong_kind"),
        ({"body": b'{"file_name": "a.json", "mends": "x"}'}, 422, "no_such_execution"),
        ({"body": b'{"file_name": "a.json", "mends": 7}'}, 422, "no_such_execution"),
        ({"body": b'{"file_name": "a.json", "mends": "%b"}' % (b"c" * 32)}, 422, "no_such_execution"),
        ({"body": b'{"file_name": "a.json", "mends": "%b"}' % (b"b" * 32)}, 422, "no_such_execution"),
        ({"body": b'{"file_name": "a/b.json"}'}, 422, "bad_file_name"),
        ({"body": b'{"file_name": "a.json"}', "content_type": "text/csv"}, 415, "unsupported_media_type"),
        ({"body": b'{"file_name": "a.json"}', "import_id": "nope"}, 404, "no_such_import"),
        ({"body": b'{"file_name": "a.json"}', "import_id": "broken"}, 409, "import_unusable"),
        ({"body": b'{"file_name": "a.json"}', "datamart_id": "2"}, 404, "no_such_datamart"),
        (
            {"body": b"{}", "grant": replace(GRANT, scopes={"*": {Right.READ}, "app": {Right.ADMIN}})},
            403,
            "forbidden",
        ),
    ],
)
def test_what_is_wrong_is_said_with_its_remedy(wanted: dict[str, Any], status: int, code: str) -> None:
    with pytest.raises(Problem) as raised:
        asked(**wanted)
    problem = raised.value
    assert (problem.status, problem.code, len(problem.detail.split()) > 5) == (status, code, True)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda c: st.lists(c) | st.dictionaries(st.text(), c)
    )
)
def test_no_body_makes_the_route_fail(body: Any) -> None:
    for sent in (body, {"file_name": body}, {"file_name": "a.json", "mends": body}):
        try:
            status = asked(json.dumps(sent).encode()).status
        except Problem as problem:
            status = problem.status
        assert status in (201, 400, 422)


def test_nothing_of_a_form_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """At the level the functions have for what is not theirs, and for their own at their most talkative."""
    with caplog.at_level(logging.INFO):
        body: Any = asked(b'{"file_name": "monday.json.gz"}').body
    fields = body["data"]["fields"]
    assert not [name for name in ("policy", "x-amz-signature", "x-amz-security-token") if fields[name] in caplog.text]
