"""Whether the function this runs in may do what an import does: every call it makes, asked so that nothing changes.

Rule: AWS looks at permissions before it looks at anything else. So each action is asked for in a way that cannot do
anything (a condition that never holds, a key nobody has), and whatever is answered but "denied" means: allowed. What
cannot be asked so is not: sending to the part queue and to the stream.
"""

import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final

from botocore.exceptions import ClientError

from importer.aws import clients
from importer.aws.settings import Settings
from importer.definitions import Definition
from importer.model import S3Object, Unavailable
from importer.sinks.calls import LOST

_NOBODY: Final = "importer-check: nobody"  # a user, a record and a file there are none of
_DENIED: Final = (
    "AccessDenied",
    "AccessDeniedException",
    "AccessDeniedError",
    "Forbidden",
    "403",
    "UnauthorizedAccess",
)
# As AWS words it: "… is not authorized to perform: s3:PutObject on resource: …"
_SAID: Final = re.compile(r"not authorized to perform: ([A-Za-z0-9-]+:[A-Za-z0-9]+)")

Call = Callable[[], object]


def probed(
    settings: Settings, definition: Definition, files: list[S3Object], function: str
) -> Iterator[dict[str, str]]:
    """What is missing: the permission, on what, and what was answered.

    Args:
        files: of the series; each may have rights of its own (K28).
        function: this one's name; it sends runs to itself.
    Raises:
        Unavailable: AWS does not answer.
    """
    functions: Any = clients.functions()
    runs = partial(functions.invoke, FunctionName=function, InvocationType="DryRun")
    asked: list[tuple[str, str, Call]] = [
        *_of_bucket(settings, definition),
        *_of_files(files),
        *_of_tables(settings),
        ("lambda:InvokeFunction", f"function/{function}", runs),
    ]
    for permission, resource, call in asked:
        try:
            call()
        except ClientError as error:
            said = error.response.get("Error", {})
            code, words = str(said.get("Code", "")), str(said.get("Message", ""))
            denied = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") == 403 or code in _DENIED
            if denied or code.startswith("KMS."):
                named = _SAID.search(words)
                answer = words.partition(named[0])[2].strip() if named else words
                yield {"permission": named[1] if named else permission, "resource": resource, "answer": answer or code}
        except LOST as error:
            raise Unavailable(f"{permission} on {resource}: {error}") from error


def _of_bucket(settings: Settings, definition: Definition) -> Iterator[tuple[str, str, Call]]:
    s3: Any = clients.s3()
    bucket, folder = settings.bucket, f"imports/{definition.id}/"

    def asked(operation: str, **arguments: Any) -> Call:
        return lambda: getattr(s3, operation)(Bucket=bucket, **arguments)

    here = f"arn:aws:s3:::{bucket}"
    versions = asked("list_object_versions", Prefix=folder, MaxKeys=1)
    yield "s3:ListBucketVersions", f"{here} (prefix imports/*)", versions
    for prefix in ("imports", "work", "completed_imports", "errors", "receipts"):
        names = asked("list_objects_v2", Prefix=f"{prefix}/", MaxKeys=1)
        yield "s3:ListBucket", f"{here} (prefix {prefix}/*)", names
    for prefix in ("completed_imports", "errors", "receipts", "work"):
        key = f"{prefix}/{_NOBODY}"
        yield "s3:GetObject", f"{here}/{prefix}/*", asked("get_object", Key=key)
        # No object has this key, so the condition on its ETag never holds.
        yield "s3:PutObject", f"{here}/{prefix}/*", asked("put_object", Key=key, Body=b"", IfMatch='"nobody"')
    upload = {"Key": f"completed_imports/{_NOBODY}", "UploadId": "nobody"}
    tags = {"TagSet": [{"Key": "nobody", "Value": "nobody"}]}
    kept = f"{here}/completed_imports/*"
    yield "s3:PutObjectTagging", kept, asked("put_object_tagging", Key=upload["Key"], Tagging=tags)
    yield "s3:AbortMultipartUpload", kept, asked("abort_multipart_upload", **upload)
    yield "s3:ListMultipartUploadParts", kept, asked("list_parts", **upload)
    joined = asked("list_parts", **(upload | {"Key": f"errors/{_NOBODY}"}))
    yield "s3:ListMultipartUploadParts", f"{here}/errors/*", joined
    segments = asked("delete_object", Key=f"work/{_NOBODY}", IfMatch='"nobody"')
    yield "s3:DeleteObject", f"{here}/work/*", segments
    gone = f"{folder}{_NOBODY}"
    yield "s3:DeleteObject", f"{here}/imports/*", asked("delete_object", Key=gone, IfMatch='"nobody"')
    yield "s3:DeleteObjectVersion", f"{here}/imports/*", asked("delete_object", Key=gone, VersionId="null")


def _of_files(files: list[S3Object]) -> Iterator[tuple[str, str, Call]]:
    s3: Any = clients.s3()
    for file in files:
        where: dict[str, Any] = {"Bucket": file.bucket, "Key": file.key}
        of_a_version = ""
        if file.version_id is not None:
            where["VersionId"] = file.version_id
            of_a_version = "Version"
        arn = f"arn:aws:s3:::{file.bucket}/{file.key}"
        yield f"s3:GetObject{of_a_version}", arn, partial(s3.get_object, Range="bytes=0-0", **where)
        yield f"s3:GetObject{of_a_version}Tagging", arn, partial(s3.get_object_tagging, **where)


def _of_tables(settings: Settings) -> Iterator[tuple[str, str, Call]]:
    dynamodb: Any = clients.records()

    def asked(operation: str, table: str, **arguments: Any) -> tuple[str, str, Call]:
        action = "".join(word.title() for word in operation.split("_"))
        index = f"/index/{arguments['IndexName']}" if "IndexName" in arguments else ""
        if operation.startswith("batch_"):
            return f"dynamodb:{action}", f"table/{table}", lambda: getattr(dynamodb, operation)(**arguments)
        return (
            f"dynamodb:{action}",
            f"table/{table}{index}",
            lambda: getattr(dynamodb, operation)(TableName=table, **arguments),
        )

    nobody = {"S": _NOBODY}
    tables = (
        (settings.events_table, {"user_id": nobody, "event_key": nobody}, ("put_item", "delete_item")),
        (settings.users_table, {"user_id": nobody, "record": nobody}, ("put_item", "delete_item", "update_item")),
        (settings.imports_table, {"pk": nobody, "sk": nobody}, ("put_item", "update_item")),
    )
    for table, key, writes in tables:
        name = next(iter(key))
        yield asked(
            "query",
            table,
            KeyConditionExpression="#key = :nobody",
            ExpressionAttributeNames={"#key": name},
            ExpressionAttributeValues={":nobody": nobody},
            Limit=1,
        )
        for write in writes:
            what = {"Item": key} if write == "put_item" else {"Key": key}
            yield asked(
                write,
                table,
                **what,
                ConditionExpression="attribute_exists(#key)",
                ExpressionAttributeNames={"#key": name},
            )
    events, users, imports = settings.events_table, settings.users_table, settings.imports_table
    delete = {"DeleteRequest": {"Key": tables[0][1]}}
    yield asked("batch_write_item", events, RequestItems={events: [delete]})
    yield asked("get_item", users, Key=tables[1][1])
    yield asked("batch_get_item", users, RequestItems={users: {"Keys": [tables[1][1]]}})
    yield asked("get_item", imports, Key=tables[2][1])
    for index, name in (("unfinished", "unfinished"), ("by_time", "listed")):
        yield asked(
            "query",
            imports,
            IndexName=index,
            KeyConditionExpression="#key = :nobody",
            ExpressionAttributeNames={"#key": name},
            ExpressionAttributeValues={":nobody": nobody},
            Limit=1,
        )
