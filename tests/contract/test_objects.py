"""Objects where S3 answers as it does without s3:ListBucket on a key: "forbidden" for what is not there (J6)."""

from typing import Any
from unittest import mock

import pytest
from botocore.exceptions import ClientError

from importer.aws.clock import SystemClock
from importer.aws.objects import S3Objects
from importer.bad_rows import FileReason, ObjectProblem
from importer.model import S3Object, Unavailable
from importer.notification import Dropped

SOURCE = S3Object("b", "imports/a.json", "v1", "e", 10, 0)
DROPPED = Dropped("b", "imports/a.json", "v1", "e")
FORBIDDEN = ClientError({"Error": {"Code": "AccessDenied"}, "ResponseMetadata": {"HTTPStatusCode": 403}}, "GetObject")  # type: ignore[typeddict-item]


def forbidding(versions: list[dict[str, str]]) -> Any:
    client = mock.Mock()
    for call in (client.head_object, client.get_object, client.copy_object):
        call.side_effect = FORBIDDEN
    client.list_object_versions.return_value = {"Versions": versions}
    client.list_objects_v2.return_value = {"Contents": []}
    return S3Objects(client, SystemClock())


THERE = [{"Key": "imports/a.json", "VersionId": "v1"}]
OTHERS = [{"Key": "imports/a.json", "VersionId": "v2"}, {"Key": "imports/a.json.gz", "VersionId": "v1"}]


def test_a_forbidden_version_that_is_not_listed_is_gone():
    """HEAD says none, reading and copying say so of the object: the execution ends, with its receipt."""
    objects = forbidding(OTHERS)
    assert objects.head(DROPPED) is None
    for use in (lambda: list(objects.read(SOURCE, 0)), lambda: objects.copy(SOURCE, "completed_imports/a", "00")):
        with pytest.raises(ObjectProblem) as raised:
            use()
        assert raised.value.code is FileReason.OBJECT_GONE


def test_a_forbidden_version_that_is_listed_is_a_missing_permission():
    """Named, and tried again: nobody's file is at fault (C8, I9)."""
    objects = forbidding(THERE)
    for use in (lambda: objects.head(DROPPED), lambda: list(objects.read(SOURCE, 0))):
        with pytest.raises(Unavailable, match="allow s3:GetObject"):
            use()
