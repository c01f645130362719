"""aws.secrets: what SSM keeps, how long it is believed, and what a stranger can make it cost."""

from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from importer.aws import clients, secrets
from importer.aws.secrets import ABSENT_MS, KEPT_MS, MOST_KEPT, STALE_MS, Secrets
from importer.doors.tokens import LONGEST_NAME, Right, new_token
from importer.model import Misconfigured, Unavailable
from tests.support.cloud import Cloud
from tests.support.faults import Fault, attempt

NAME = "/importer/stack/tokens/0123456789abcdef"


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    with Cloud() as one:
        yield one


def put(cloud: Cloud, name: str, text: str, overwrite: bool = False) -> None:
    with cloud.unseen():
        cloud.client("ssm").put_parameter(Name=name, Value=text, Type="SecureString", Overwrite=overwrite)


class Counted:
    """Secrets of a cloud, and how often SSM was asked."""

    def __init__(self, cloud: Cloud) -> None:
        self.calls = 0
        self.problem: Exception | None = None
        self.secrets = Secrets(self._client, cloud.clock)

    def _client(self) -> Any:
        client = clients.parameters()
        get = client.get_parameter

        def counted(**asked: Any) -> Any:
            self.calls += 1
            if self.problem is not None:
                raise self.problem
            return get(**asked)

        client.get_parameter = counted  # type: ignore[method-assign]
        return client

    def after(self, name: str = NAME) -> tuple[str | None, int]:
        """What it says, and how often SSM has been asked by then."""
        return self.secrets.text(name), self.calls


def test_a_secret_is_read_once_a_minute(cloud: Cloud) -> None:
    """So long may it take until a token that was revoked is refused."""
    put(cloud, NAME, "one")
    counted = Counted(cloud)
    assert [counted.after(), counted.after()] == [("one", 1), ("one", 1)]
    put(cloud, NAME, "two", overwrite=True)
    cloud.clock.sleep(KEPT_MS / 1000 - 1)
    assert counted.after() == ("one", 1)
    cloud.clock.sleep(1)
    assert counted.after() == ("two", 2)
    with cloud.unseen():
        cloud.client("ssm").delete_parameter(Name=NAME)
    cloud.clock.sleep(KEPT_MS / 1000)
    assert counted.after() == (None, 3)


def test_that_there_is_none_is_believed_for_a_moment_only(cloud: Cloud) -> None:
    """Asking again and again costs no call; a token made meanwhile is good within seconds."""
    counted = Counted(cloud)
    assert [counted.after(), counted.after()] == [(None, 1), (None, 1)]
    put(cloud, NAME, "made meanwhile")
    cloud.clock.sleep(ABSENT_MS / 1000 - 1)
    assert counted.after() == (None, 1)
    cloud.clock.sleep(1)
    assert counted.after() == ("made meanwhile", 2)


def test_what_is_remembered_is_bounded_and_names_that_are_not_there_push_nothing_out(cloud: Cloud) -> None:
    """A stranger may ask for as many as there are ids."""
    put(cloud, NAME, "one")
    counted = Counted(cloud)
    counted.after()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(secrets, "read", lambda client, name: None)
        for number in range(2 * MOST_KEPT):
            assert counted.secrets.text(f"/nobody/{number}") is None
    assert len(counted.secrets._absent) == MOST_KEPT
    assert counted.after() == ("one", 1)


def test_of_more_secrets_than_are_remembered_the_one_read_longest_ago_is_read_again(cloud: Cloud) -> None:
    counted = Counted(cloud)
    with pytest.MonkeyPatch.context() as patched:
        read: list[str] = []
        patched.setattr(secrets, "read", lambda client, name: read.append(name) or "text")
        for number in range(MOST_KEPT + 1):
            counted.secrets.text(str(number))
        read.clear()
        for number in (1, MOST_KEPT, 0):
            counted.secrets.text(str(number))
        assert read == ["0"]


def test_where_ssm_does_not_answer_what_was_read_stays_good_for_a_while(cloud: Cloud) -> None:
    """And it is asked every ten seconds only: whoever has a good token does not wait for each time-out."""
    put(cloud, NAME, "one")
    counted = Counted(cloud)
    counted.after()
    counted.problem = secrets.LOST[1](error="no route")
    cloud.clock.sleep(KEPT_MS / 1000)
    assert [counted.after(), counted.after()] == [("one", 2), ("one", 2)]
    cloud.clock.sleep(ABSENT_MS / 1000)
    assert counted.after() == ("one", 3)
    cloud.clock.sleep((STALE_MS - ABSENT_MS) / 1000)
    with pytest.raises(Unavailable):
        counted.after()
    counted.problem = None
    assert counted.after() == ("one", 5)


@pytest.mark.parametrize(
    ("code", "status", "says"),
    [
        ("ThrottlingException", 400, "ThrottlingException from GetParameter"),
        ("InternalServerError", 500, "InternalServerError from GetParameter"),
        ("InvalidKeyId", 400, "InvalidKeyId from GetParameter"),
        ("AccessDeniedException", 400, "not authorized to perform: ssm:GetParameter"),
    ],
)
def test_what_cannot_be_read_says_so_and_quotes_nothing_but_a_denial(
    cloud: Cloud, code: str, status: int, says: str
) -> None:
    put(cloud, NAME, "one")
    words = "User: arn:x is not authorized to perform: ssm:GetParameter" if "Denied" in code else "a secret: ann@x"
    counted = Counted(cloud)
    counted.problem = _refusal(code, words, status)
    with pytest.raises(Unavailable) as raised:
        counted.after()
    assert (says in str(raised.value), NAME in str(raised.value), "ann@x" in str(raised.value)) == (True, True, False)


def _refusal(code: str, message: str, status: int) -> Exception:
    answer: Any = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(answer, "GetParameter")


def test_a_read_that_is_throttled_is_tried_again(cloud: Cloud) -> None:
    """By the client: somebody waits for the answer."""
    put(cloud, NAME, "one")
    throttled = Fault("throttled", "GetParameter", times=2)
    done = attempt(cloud, lambda: Secrets(clients.parameters, cloud.clock).text(NAME), throttled)
    assert done.result == "one"


@pytest.mark.parametrize("name", ["{{ssm:x}}", "é" * LONGEST_NAME, '"\\' * (LONGEST_NAME // 2)])
def test_whatever_a_token_is_called_ssm_takes_it_or_it_is_refused_here(cloud: Cloud, name: str) -> None:
    """Up to the largest there can be."""
    refused = 0
    for count in (1, *range(70, 115, 5)):
        scopes = {f"import-{number:03}-{{{{é": [Right.READ] for number in range(count)}
        try:
            token = new_token(name, scopes, 1, None).stored
        except Misconfigured:
            refused += 1
            continue
        secrets.create(clients.parameters(), f"/importer/s/tokens/{token.token_id}", token.text(), "a token")
        assert Secrets(clients.parameters, cloud.clock).text(f"/importer/s/tokens/{token.token_id}") == token.text()
    assert 0 < refused < 10


def test_people_make_list_and_remove_them_encrypted(cloud: Cloud) -> None:
    """More than a page of them (ten), and none of what lies beside or deeper."""
    client = clients.parameters()
    for number in range(23):
        secrets.create(client, f"/importer/stack/tokens/{number:02}", f"text {number}", "a token")
    put(cloud, "/importer/stack/tokens/deeper/1", "x")
    put(cloud, "/importer/stack/other", "x")
    put(cloud, "/importer/stack/tokens2/1", "x")
    assert sorted(secrets.below(client, "/importer/stack/tokens")) == [(f"{n:02}", f"text {n}") for n in range(23)]
    with cloud.unseen():
        (kept,) = cloud.client("ssm").get_parameters(Names=["/importer/stack/tokens/00"])["Parameters"]
    assert (kept["Type"], kept["Value"] == "text 0") == ("SecureString", False)
    assert [secrets.remove(client, "/importer/stack/tokens/00") for _ in range(2)] == [True, False]
    with pytest.raises(Exception, match="already exists"):
        secrets.create(client, "/importer/stack/tokens/01", "another", "a token")
