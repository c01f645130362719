"""Import by URI over the imports table, S3 and the queue: the file appears once and whole, whatever happens on the way.

The source is a test's own; of servers test_fetching_wire.py speaks. J2: a source that changes; N11: one
that knows no ranges; C3: one that drips.
"""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from importer.aws import clients
from importer.definitions import Definition
from importer.doors import fetching
from importer.doors.fetching import FIRST_TRIES, LEASE_MS, MOST_RESTARTS, PAUSES_S, SWEPT_AFTER_MS, sweep_fetches
from importer.executions.starting import execution_id_of
from importer.fetches import Cut, Fetch, FetchReason, Refused, UnknownFetch, document_of, piece_bytes_of
from importer.model import Fenced, LeaseHeld, S3Object, Status
from tests.support.cloud import Cloud, Dropped
from tests.support.faults import Fault, attempt, every, plan
from tests.support.fetching import KEY, MIB, URI, Fetching, Source, rows, small_pieces
from tests.support.function import deployed

FILE = rows(150_000)  # 11.7 MB: three pieces
SHORT = FILE[: 5 * MIB + 1000]


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    with Cloud() as one, small_pieces():
        yield one


def fetching_of(cloud: Cloud, body: bytes = FILE, **how: object) -> Fetching:
    made = Fetching(cloud, Source(cloud, body, **how))  # type: ignore[arg-type]
    made.asked()
    return made


def error(fetch: Fetch) -> FetchReason:
    assert fetch.status is Status.FAILED
    return FetchReason(fetch.error_code)


# ---- To its end ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sized", [True, False])
@pytest.mark.parametrize("size", [0, 1, 5 * MIB - 1, 5 * MIB, 5 * MIB + 1, 10 * MIB, 11 * MIB + 7])
def test_a_file_of_any_size_appears_whole(cloud: Cloud, size: int, sized: bool):
    """Whether or not its server says how long it is; with the id its import will have."""
    body = FILE[:size]
    made = fetching_of(cloud, body, sized=sized)
    fetch = made.turns()
    ((version, landed),) = cloud.versions(KEY)
    source = S3Object(cloud.bucket, KEY, version, "", 0, 0)
    assert (landed, fetch.status, fetch.next_offset, fetch.total_bytes) == (body, Status.SUCCEEDED, size, size)
    assert (fetch.version_id, fetch.execution_id) == (version, execution_id_of(source))
    assert (cloud.uploads(), cloud.messages(), made.telling.said) == (set(), [], ["SUCCEEDED"])


def test_the_query_is_forgotten_when_the_fetch_has_ended(cloud: Cloud):
    """J3: a signed URL is as good as a password. It is stored as long as it is needed, and told never."""
    made = fetching_of(cloud)
    assert (made.now().whole_uri, "secret" in str(document_of(made.now(), cloud.bucket, None))) == (URI, False)
    made.turns()
    assert (made.now().query, made.now().uri) == ("", URI.partition("?")[0])


def test_memory_is_bounded_by_the_size_of_a_piece():
    """10,000 pieces at most, however large the file; a size nobody says is taken for the largest allowed."""
    assert [piece_bytes_of(size, 100 << 30) for size in (0, 8 * MIB, 78 << 30, None)] == [8 * MIB] * 3 + [11 * MIB]
    assert piece_bytes_of(500 << 30, 500 << 30) == 52 * MIB


def test_a_fetch_that_has_ended_is_not_touched_again(cloud: Cloud):
    """A message that is delivered again, a year later too, changes nothing."""
    made = fetching_of(cloud)
    before = made.turns()
    made.source.body = b"other"
    with plan(cloud) as calls:
        assert made.turn() == before
    assert [call.operation for call in calls.calls] == ["GetItem"]
    assert made.landed() == [FILE]


def test_a_message_of_no_fetch_is_raised(cloud: Cloud):
    with pytest.raises(UnknownFetch):
        fetching_of(cloud).turn(fetch_id="other")


# ---- Resuming --------------------------------------------------------------------------------------------------------


def test_a_body_that_is_cut_goes_on_from_the_last_piece(cloud: Cloud):
    """Every piece that came whole stays; and tries count from the last of them."""
    made = fetching_of(cloud, cuts=[6 * MIB, 5 * MIB + 9, 100])
    fetch = made.turns()
    assert made.source.opened_at == [0, 5 * MIB, 10 * MIB, 10 * MIB]
    assert (made.landed(), fetch.restarts, fetch.tries) == ([FILE], 0, 0)


def test_another_invocation_goes_on_when_the_time_is_up(cloud: Cloud):
    """From the position that is stored; nothing is kept in between but pieces."""
    made = fetching_of(cloud, chunk_ms=20_000)  # 12 chunks of a MiB: four minutes
    fetch = made.turns(seconds=180)
    assert made.source.opened_at == [0, 5 * MIB]
    assert (made.landed(), fetch.status) == ([FILE], Status.SUCCEEDED)
    assert made.telling.said == [f"handed on at {5 * MIB}", "SUCCEEDED"]


def test_a_source_that_changes_is_read_from_its_begin(cloud: Cloud):
    """J2: pieces of two versions never come together; those of the first are thrown away."""
    made = fetching_of(cloud, cuts=[6 * MIB])
    other = rows(150_001, b"f")
    made.source.trouble = []
    first = made.source.opened

    def changing(fetch: Fetch, offset: int, validator: str, time_ms: int):  # type: ignore[no-untyped-def]
        if offset:
            made.source.body, made.source.validator = other, '"v2"'
        return first(fetch, offset, validator, time_ms)

    made.source.opened = changing  # type: ignore[method-assign]
    fetch = made.turns()
    assert (made.landed(), fetch.restarts, fetch.total_bytes) == ([other], 1, len(other))
    assert (made.source.opened_at, cloud.uploads()) == ([0, 0], set())


def test_a_server_without_ranges_is_read_again_up_to_where_we_are(cloud: Cloud):
    """N11: the whole again, of the same version: what we have is not stored twice."""
    made = fetching_of(cloud, cuts=[6 * MIB], whole=True)
    fetch = made.turns()
    assert (made.source.opened_at, made.landed(), fetch.restarts) == ([0, 0], [FILE], 0)


def test_a_server_that_names_no_version_is_read_from_its_begin(cloud: Cloud):
    """Who knows whether it is still the same file? Five times; then a person is told why."""
    made = fetching_of(cloud, validator="", cuts=[6 * MIB])
    assert (made.turns().restarts, made.landed()) == (1, [FILE])
    made = Fetching(cloud, Source(cloud, FILE, validator="", cuts=[6 * MIB] * 30))
    made.asked(fetch_id="g")
    fetch = made.turn(fetch_id="g")
    assert (error(fetch), fetch.restarts) == (FetchReason.SOURCE_CHANGED, MOST_RESTARTS)
    assert "neither ETag nor Last-Modified" in fetch.error_message
    assert cloud.uploads() == set()


def test_a_size_that_changes_under_the_same_name_is_a_change(cloud: Cloud):
    """A server that forgets to change its ETag."""
    made = fetching_of(cloud, cuts=[6 * MIB])
    first = made.source.opened

    def longer(fetch: Fetch, offset: int, validator: str, time_ms: int):  # type: ignore[no-untyped-def]
        if offset:
            made.source.body = FILE + FILE[:1000]
        return first(fetch, offset, validator, time_ms)

    made.source.opened = longer  # type: ignore[method-assign]
    assert (made.turns().restarts, made.landed()) == (1, [FILE + FILE[:1000]])


# ---- Giving up -------------------------------------------------------------------------------------------------------


def test_a_source_that_never_answers_is_given_up_while_a_person_waits(cloud: Cloud):
    """A name or port that is wrong stays wrong."""
    made = fetching_of(cloud, trouble=[Cut("no connection")] * 30)
    fetch = made.turn()
    assert (error(fetch), len(made.source.trouble), cloud.messages()) == (FetchReason.UNREACHABLE, 30 - FIRST_TRIES, [])


def test_a_source_that_answered_once_is_waited_for_within_bounds(cloud: Cloud):
    """In growing pauses, most of them outside of any invocation."""
    made = fetching_of(cloud, cuts=[6 * MIB])
    made.source.cuts += [0] * 30
    fetch = made.turns()
    assert (error(fetch), len(made.source.opened_at)) == (FetchReason.UNREACHABLE, len(PAUSES_S))
    assert cloud.clock.now_ms() - made.now().created_ms > sum(PAUSES_S[:-1]) * 1000
    assert (made.landed(), cloud.uploads()) == ([], set())


def test_a_source_that_says_when_is_asked_then(cloud: Cloud):
    made = fetching_of(cloud, trouble=[Cut("busy", 600)])
    made.turn()
    assert cloud.receive() is None
    cloud.clock.advance(601_000)
    received = cloud.receive()
    assert received is not None
    assert made.turn().status is Status.SUCCEEDED


def test_a_source_that_drips_is_given_up(cloud: Cloud):
    """C3: every receive brings something, and no invocation brings a piece."""
    made = fetching_of(cloud, chunk_ms=100_000)
    fetch = made.turns()
    assert (error(fetch), "too slowly" in fetch.error_message) == (FetchReason.UNREACHABLE, True)


def test_a_fetch_ends_when_its_time_is_up(cloud: Cloud):
    made = fetching_of(cloud, chunk_ms=20_000)
    made.most_ms = 120_000
    fetch = made.turns(seconds=180)
    assert (error(fetch), cloud.uploads(), made.landed()) == (FetchReason.TIMED_OUT, set(), [])


def test_what_is_refused_on_the_way_ends_it_and_leaves_nothing(cloud: Cloud):
    made = fetching_of(cloud, cuts=[6 * MIB])
    first = made.source.opened

    def refusing(fetch: Fetch, offset: int, validator: str, time_ms: int):  # type: ignore[no-untyped-def]
        if offset:
            raise Refused(FetchReason.ADDRESS_DENIED, "files.test is not public")
        return first(fetch, offset, validator, time_ms)

    made.source.opened = refusing  # type: ignore[method-assign]
    assert error(made.turns()) is FetchReason.ADDRESS_DENIED
    assert (made.landed(), cloud.uploads(), cloud.messages()) == ([], set(), [])


def test_a_name_that_its_rows_forbid_is_refused_before_the_file_is_fetched(cloud: Cloud):
    """CoolaData: no "csv" in the name of a .json file; a drop would end FAILED wrong_kind, too."""
    made = Fetching(cloud, Source(cloud, FILE))
    made.asked("https://files.test/csv-export.json")
    fetch = made.turn()
    assert (error(fetch), fetch.next_offset, cloud.uploads()) == (FetchReason.WRONG_KIND, 0, set())


def test_a_file_goes_to_the_folder_of_its_import(cloud: Cloud):
    shop = Definition(id="shop")
    made = Fetching(cloud, Source(cloud, b"{}\n"))
    made.records.create_definition(shop, 0)
    made.asked(definition=shop)
    assert made.turn().key == "imports/shop/monday.json"
    assert cloud.objects("imports/") == {"imports/shop/monday.json": b"{}\n"}


# ---- Two workers, and crashes ----------------------------------------------------------------------------------------


def test_a_worker_that_meets_a_lease_comes_back_when_it_has_run_out(cloud: Cloud):
    """The owner may be dead, and its message deleted with this one: nobody else would come."""
    made = fetching_of(cloud)
    now_ms = cloud.clock.now_ms()
    with cloud.unseen():
        made.records.claim_fetch("f", "another", now_ms, now_ms + LEASE_MS)
    assert made.turn().status is Status.PENDING
    assert cloud.receive() is None
    cloud.clock.advance(LEASE_MS + 2_000)
    received = cloud.receive()
    assert received is not None
    assert (made.turn().status, made.landed()) == (Status.SUCCEEDED, [FILE])


def test_a_worker_whose_fetch_was_taken_stores_no_more_and_completes_nothing(cloud: Cloud):
    """It stood still for longer than its lease; the other one is further, or has begun again with another version."""
    made = fetching_of(cloud, cuts=[6 * MIB])
    first, taken = made.source.opened, []

    def standing_still(fetch: Fetch, offset: int, validator: str, time_ms: int):  # type: ignore[no-untyped-def]
        if offset and not taken:
            cloud.clock.advance(LEASE_MS + 1)
            taken.append(
                made.records.claim_fetch("f", "another", cloud.clock.now_ms(), cloud.clock.now_ms() + LEASE_MS)
            )
        return first(fetch, offset, validator, time_ms)

    made.source.opened = standing_still  # type: ignore[method-assign]
    made.turn()
    assert (made.landed(), made.telling.said, made.now().next_offset) == ([], [], 5 * MIB)
    cloud.clock.advance(LEASE_MS + 1)
    assert (made.turn().status, made.landed()) == (Status.SUCCEEDED, [FILE])


def test_a_late_write_moves_nothing_back(cloud: Cloud):
    """I1: owner, position and round are all conditions of the one write."""
    made = fetching_of(cloud)
    now_ms = cloud.clock.now_ms()
    with cloud.unseen():
        fetch = made.records.claim_fetch("f", "me", now_ms, now_ms + 1)
        assert isinstance(fetch, Fetch)
        further = replace(fetch, next_offset=5, restarts=1)
        made.records.keep_fetch(fetch, further, "me", now_ms + 1)
        for before, after, owner in (
            (fetch, replace(fetch, next_offset=3), "me"),
            (replace(fetch, next_offset=5), further, "another"),
            (replace(fetch, next_offset=5, restarts=0), replace(further, restarts=0), "me"),
        ):
            with pytest.raises(Fenced):
                made.records.keep_fetch(before, after, owner, now_ms + 9)
        assert made.now() == further
        assert isinstance(made.records.claim_fetch("f", "another", now_ms, now_ms + 9), LeaseHeld)


def test_a_write_whose_reply_was_lost_is_known_again(cloud: Cloud):
    """F8: the SDK repeats it, and its own success refuses it."""
    made = fetching_of(cloud)
    for operation in ("PutItem", "UpdateItem", "CompleteMultipartUpload", "UploadPart"):
        ended = attempt(cloud, made.turns, Fault("reply_lost", operation))
        assert ended.error is None
    assert (made.now().status, made.landed()) == (Status.SUCCEEDED, [FILE])


CRASHES = ("kill_before", "kill_after", "connection_lost", "reply_lost", "error_500", "denied")


def clean_calls() -> list[Fault]:
    with Cloud() as cloud, small_pieces():
        ended = attempt(cloud, fetching_of(cloud, SHORT, cuts=[5 * MIB + 9]).turn)
        return every(ended.calls, CRASHES)


@pytest.mark.parametrize(
    "kind",
    [pytest.param(kind, marks=() if kind in ("kill_after", "reply_lost") else pytest.mark.slow) for kind in CRASHES],
)
def test_killed_at_any_call_and_delivered_again_the_file_appears_once_and_whole(kind: str):
    """No rows are imported twice from two versions, and none is lost; the upload of a dead worker is gone on with."""
    faults = [fault for fault in clean_calls() if fault.kind == kind]
    assert len(faults) >= 10
    for fault in faults:
        with Cloud() as cloud, small_pieces():
            made = fetching_of(cloud, SHORT, cuts=[5 * MIB + 9])
            attempt(cloud, made.turn, fault)
            for _ in range(3):
                cloud.clock.advance(1_800_000)
                made.turns()
            assert (made.now().status, made.landed()) == (Status.SUCCEEDED, [SHORT]), str(fault)
            assert len(cloud.uploads()) <= 1, str(fault)  # one begun that nobody could note: the bucket's rule ends it
            assert made.now().version_id == cloud.versions(KEY)[0][0], str(fault)


def test_a_file_that_was_imported_before_its_fetch_could_say_so_is_found_by_its_execution(cloud: Cloud):
    """Completed, then the worker died; the import took the file away. It is not fetched again."""
    made = fetching_of(cloud, FILE[:1000])
    attempt(cloud, made.turn, Fault("kill_after", "CompleteMultipartUpload"))
    (version, _), *_ = cloud.versions(KEY)
    execution_id = execution_id_of(S3Object(cloud.bucket, KEY, version, "", 0, 0))
    with deployed(cloud) as deliver:
        etag = (cloud.etag(KEY) or "").strip('"')
        deliver(cloud.notification(Dropped(KEY, FILE[:1000], version, etag, {})))
    assert made.landed() == []
    cloud.clock.advance(LEASE_MS + 1)
    fetch = made.turn()
    assert (fetch.status, fetch.execution_id, made.landed()) == (Status.SUCCEEDED, execution_id, [])


def test_a_file_that_lies_there_still_is_found_by_its_mark(cloud: Cloud):
    """Completed, then the worker died. The role of fetches may look at the newest file of a key, and at no version."""
    made = fetching_of(cloud, FILE[:1000])
    attempt(cloud, made.turn, Fault("kill_after", "CompleteMultipartUpload"))
    cloud.clock.advance(LEASE_MS + 1)
    with plan(cloud) as calls:
        fetch = made.turn()
    ((version, _),) = cloud.versions(KEY)
    assert (fetch.status, fetch.version_id, made.landed()) == (Status.SUCCEEDED, version, [FILE[:1000]])
    assert [call.query for call in calls.calls if call.operation == "HeadObject"] == [{}]


def test_an_upload_that_somebody_took_away_is_begun_again(cloud: Cloud):
    """The bucket's rule does, after seven days."""
    made = fetching_of(cloud, cuts=[6 * MIB], trouble=[])
    made.source.cuts.append(0)
    attempt(cloud, made.turn, Fault("kill_after", "UploadPart"))
    with cloud.unseen():
        s3 = clients.s3()
        for upload in s3.list_multipart_uploads(Bucket=cloud.bucket)["Uploads"]:
            s3.abort_multipart_upload(Bucket=cloud.bucket, Key=KEY, UploadId=upload["UploadId"])
    cloud.clock.advance(LEASE_MS + 1)
    made.source.cuts.clear()
    assert (made.turns().status, made.landed(), cloud.uploads()) == (Status.SUCCEEDED, [FILE], set())


# ---- The sweep, and lists --------------------------------------------------------------------------------------------


def test_the_sweep_sends_on_what_nobody_is_at(cloud: Cloud):
    """A message that was never sent; a worker that died with the last one. Nothing that has ended, or is being done."""
    made = fetching_of(cloud)
    for fetch_id in ("g", "h"):
        made.asked(fetch_id=fetch_id)
    made.turn(fetch_id="h")
    place = made.place()
    assert sweep_fetches(place, SWEPT_AFTER_MS) == 0
    cloud.clock.advance(SWEPT_AFTER_MS + 1_000)
    with cloud.unseen():
        made.records.claim_fetch("g", "me", cloud.clock.now_ms(), cloud.clock.now_ms() + LEASE_MS)
    assert sweep_fetches(made.place(seconds=4), SWEPT_AFTER_MS) == 0, "what there is no time for is the next one's"
    assert sweep_fetches(made.place(), SWEPT_AFTER_MS) == 1
    assert cloud.messages() == ['{"schema":"fetch/1","fetch_id":"f"}']
    assert max(PAUSES_S) * 1000 < SWEPT_AFTER_MS, "else the sweep would shorten the pauses"


def test_a_backlog_does_not_grow_by_being_swept(cloud: Cloud):
    """Messages that wait for a worker for hours: a second one after 20 minutes, the next after 40 more, and so on; at
    once when a worker was at it since and has died."""
    made = fetching_of(cloud)
    swept = []
    for minute in range(0, 17 * 60, 20):
        if sweep_fetches(made.place(), SWEPT_AFTER_MS):
            swept.append(minute)
        cloud.clock.advance(20 * 60_000)
    assert swept == [20, 60, 140, 300, 620, 980]
    with cloud.unseen():
        made.records.claim_fetch("f", "dies", cloud.clock.now_ms(), cloud.clock.now_ms() + LEASE_MS)
    cloud.clock.advance(LEASE_MS + SWEPT_AFTER_MS + 1_000)
    assert [sweep_fetches(made.place(), SWEPT_AFTER_MS) for _ in range(2)] == [1, 0]
    made.turns()
    assert sweep_fetches(made.place(), SWEPT_AFTER_MS) == 0


def test_a_fetch_that_cannot_be_read_keeps_no_other_waiting(cloud: Cloud):
    """I8: somebody has changed its item; it is told at every sweep, and the others are sent on."""
    made = fetching_of(cloud)
    made.asked(fetch_id="g")
    (item,) = (one for one in cloud.items(cloud.imports_table) if one["pk"] == "FETCH#f")
    cloud.put_item(cloud.imports_table, item | {"access": "mine"})
    cloud.clock.advance(SWEPT_AFTER_MS + 1_000)
    place = made.place()
    assert sweep_fetches(place, SWEPT_AFTER_MS) == 1
    assert cloud.messages() == ['{"schema":"fetch/1","fetch_id":"g"}']
    assert [what.partition(":")[0] for what in made.telling.troubles] == ["f"]


def test_the_sweep_does_not_shorten_a_pause(cloud: Cloud):
    """A fetch of yesterday that waits for its source is nobody's, and its message is on its way."""
    made = fetching_of(cloud, cuts=[6 * MIB, *[0] * 30])
    cloud.clock.advance(3_600_000)
    made.turn()
    assert len(cloud.messages()) == 1
    cloud.clock.advance(max(PAUSES_S) * 1000)
    assert sweep_fetches(made.place(), SWEPT_AFTER_MS) == 0


def test_fetches_are_listed_newest_first_and_executions_are_not(cloud: Cloud):
    made = fetching_of(cloud, b"")
    cloud.clock.advance(10)
    made.asked(fetch_id="g")
    made.turns()
    cloud.put_item(cloud.imports_table, {"pk": "EXEC#e", "sk": "EXEC", "listed": "EXECUTION", "creation_date": 1})
    with cloud.unseen():
        assert [fetch.id for fetch in made.records.fetches(10)] == ["g", "f"]
        assert made.records.fetches(1) == [made.now("g")]
        assert list(made.records.all_unfinished()) == []


def test_a_fetch_asked_for_twice_under_one_id_is_one(cloud: Cloud):
    """The first stays as it is, however far it is."""
    made = fetching_of(cloud)
    ended = made.turns()
    assert made.asked() == ended
    assert fetching.content_type_of("a.JSON.GZ") == "application/gzip"
