"""An installation as a person's machine reaches it: the twin or a deployed stack, and its clients.

Everything that can be wrong before the first call says here what to do about it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    EndpointConnectionError,
    NoCredentialsError,
    NoRegionError,
    ProfileNotFound,
)

from cli import stack, twin
from cli.stack import Stack
from importer.aws.clients import SIGNING
from importer.aws.clock import SystemClock
from importer.aws.objects import S3Objects
from importer.aws.tables import ImportsTable
from importer.model import Unavailable

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sqs import SQSClient

    from importer.aws.secrets import ParameterClient

# A person waits: fewer tries than a function makes, and an answer within seconds where nothing listens.
_CONFIG: Final = Config(
    connect_timeout=5, read_timeout=60, retries={"total_max_attempts": 4, "mode": "standard"}, max_pool_connections=16
)


class CannotReach(Exception):
    """The installation cannot be used; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Connection:
    """One installation and its clients. `name` is what a person calls it."""

    name: str
    stack: Stack
    s3: "S3Client"
    dynamodb: "DynamoDBClient"
    session: boto3.Session

    def sqs(self) -> "SQSClient":
        """A new client: only some commands need one."""
        return self.session.client("sqs", endpoint_url=self.stack.endpoint_url, config=_CONFIG)

    def functions(self) -> "LambdaClient":
        """A new client: only some commands need one."""
        return self.session.client("lambda", endpoint_url=self.stack.endpoint_url, config=_CONFIG)

    def parameters(self) -> "ParameterClient":
        """A new client: only some commands need one."""
        return cast("ParameterClient", self.session.client("ssm", endpoint_url=self.stack.endpoint_url, config=_CONFIG))

    def signer(self) -> "S3Client":
        """A new client, to sign what others will send."""
        return self.session.client("s3", endpoint_url=self.stack.endpoint_url, config=SIGNING)

    def client(self, service: str) -> Any:
        """A new client of a service that few commands need."""
        return self.session.client(service, endpoint_url=self.stack.endpoint_url, config=_CONFIG)  # type: ignore[call-overload]

    @property
    def stack_name(self) -> str:
        """What CloudFormation calls it, also for the twin; "" of an older stack, which does not say."""
        path = self.stack.tokens_path or ""
        return path.removeprefix("/importer/").partition("/")[0] if path.startswith("/importer/") else ""

    @property
    def objects(self) -> S3Objects:
        return S3Objects(self.s3, SystemClock())

    @property
    def imports(self) -> ImportsTable:
        return ImportsTable(self.dynamodb, self.stack.imports_table)

    @property
    def command(self) -> str:
        """How `--stack` must be given to mean this installation again."""
        return "" if self.stack.endpoint_url else f" --stack {self.name}"


def connected(stack_name: str | None) -> Connection:
    """The deployed stack of that name, or without one the twin.

    Raises:
        CannotReach: there is none, or it does not answer.
    """
    return of_stack(twin_outputs()) if stack_name is None else _deployed(stack_name)


def twin_outputs() -> Stack:
    """What the running twin is called.

    Raises:
        CannotReach: none runs.
    """
    path = twin.DIRECTORY / "outputs.json"
    try:
        return Stack.from_file(path)
    except FileNotFoundError:
        raise CannotReach(
            "no twin is running here: start one with `make up`, or name a deployed stack with --stack NAME"
        ) from None
    except (ValueError, TypeError) as error:
        raise CannotReach(f"{path} cannot be read ({error}): `make down`, then `make up`") from error


def of_stack(outputs: Stack, name: str = "the twin") -> Connection:
    """A connection to an installation whose names are known."""
    session = boto3.Session(outputs.access_key_id, outputs.secret_access_key, region_name=outputs.region)
    with explained(name):
        return Connection(
            name,
            outputs,
            session.client("s3", endpoint_url=outputs.endpoint_url, config=_CONFIG),
            session.client("dynamodb", endpoint_url=outputs.endpoint_url, config=_CONFIG),
            session,
        )


def own_s3() -> "S3Client":
    """S3 by the person's own credentials and region, for an address that belongs to no stack."""
    with explained("S3"):
        return boto3.client("s3", config=_CONFIG)


def _deployed(stack_name: str) -> Connection:
    with explained(f"stack {stack_name}"):
        cloudformation = boto3.client("cloudformation", config=_CONFIG)
        try:
            outputs = stack.described(cloudformation, stack_name)
        except ClientError as error:
            if "does not exist" not in str(error):
                raise
            raise CannotReach(
                f"there is no stack {stack_name} in {cloudformation.meta.region_name}: "
                "`aws cloudformation list-stacks` shows what there is; AWS_REGION and AWS_PROFILE choose where to look"
            ) from error
        except KeyError as error:
            raise CannotReach(
                f"stack {stack_name} has no output {error}: it is another project's, or older than this command; "
                "deploy this version with `make build && sam deploy`"
            ) from error
    return of_stack(outputs, stack_name)


@contextmanager
def explained(name: str) -> Iterator[None]:
    """What AWS says inside the block, as CannotReach with a remedy."""
    try:
        yield
    except EndpointConnectionError as error:
        raise CannotReach(_unreachable(name, str(error))) from error
    except (NoCredentialsError, ProfileNotFound) as error:
        raise CannotReach(f"{name}: {error}. Log in (`aws sso login`, `aws configure`) or set AWS_PROFILE") from error
    except NoRegionError as error:
        raise CannotReach(f"{name}: no region is chosen. Set AWS_REGION") from error
    except ClientError as error:
        said = error.response.get("Error", {})
        code = said.get("Code", "")
        remedy = ""
        if "AccessDenied" in code or code in ("403", "Forbidden"):
            remedy = f". Your credentials lack the permission for {error.operation_name}"
        elif "Expired" in code or "InvalidClientTokenId" in code or "InvalidAccessKeyId" in code:
            remedy = ". Your credentials are no longer valid: log in again (`aws sso login`)"
        raise CannotReach(f"{name}: {error.operation_name}: {said.get('Message') or code}{remedy}") from error
    except (BotoCoreError, Unavailable) as error:
        if isinstance(error.__cause__, EndpointConnectionError):
            raise CannotReach(_unreachable(name, str(error))) from error
        raise CannotReach(f"{name}: {error}") from error


def _unreachable(name: str, said: str) -> str:
    remedy = "it has stopped; `make up` starts it again" if name == "the twin" else "is the network there?"
    return f"{name} does not answer ({said}): {remedy}"
