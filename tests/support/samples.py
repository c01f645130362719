"""What each notification in events/ names: one entry per file, for the unit tests and for `sam local invoke` alike.

    for name, sample in SAMPLES.items():
        for named in sample.objects:
            drop named.key with named.body()
        invoke with events/<name>
        expect every named key imported and moved, and an error if sample.raises

events/README.md has the same table for people.
"""

from dataclasses import dataclass
from pathlib import Path

EVENTS = Path(__file__).parents[2] / "events"

BUCKET = "s3-event-importer-123456789012-us-east-1"
"""The bucket every sample speaks of; replace this text in a sample to make it speak of another one."""


@dataclass(frozen=True)
class Named:
    """One object a sample wants imported.

    Args:
        key: as the bucket knows it, decoded.
        file: of events/files/: the content to drop under that key before the sample is delivered.
        version_id: None in all samples but one, so that they work on any bucket. A bucket chooses its version ids
            itself: put the real one in the place of this text.
    """

    key: str
    file: str = "logins.json"
    version_id: str | None = None

    def body(self) -> bytes:
        return (EVENTS / "files" / self.file).read_bytes()


@dataclass(frozen=True)
class Sample:
    """What the function is to do with one sample: import `objects` in this order, each once; then raise, or return."""

    objects: tuple[Named, ...] = ()
    raises: bool = False

    @property
    def versioned(self) -> bool:
        """It names a version, so it works only with that version's real id filled in."""
        return any(named.version_id for named in self.objects)


SAMPLES: dict[str, Sample] = {
    # Straight from S3.
    "s3-put.json": Sample((Named("imports/logins.json"),)),
    "s3-post.json": Sample((Named("imports/from-a-form.json"),)),
    "s3-copy.json": Sample((Named("imports/copied.json", "journey_logins.json"),)),
    "s3-multipart.json": Sample((Named("imports/in-pieces.json", "journey_logins.json"),)),
    "s3-several-records.json": Sample(
        (Named("imports/first.json"), Named("imports/second.json", "journey_logins.json"), Named("imports/third.json"))
    ),
    "s3-key-encoded.json": Sample(
        (
            Named("imports/two words.json"),
            Named("imports/1+1=2.json"),
            Named("imports/100%25 sure.json"),
            Named("imports/crème brûlée 😀.json"),
        )
    ),
    "s3-versioned.json": Sample((Named("imports/versioned.json", version_id="3sL4kqtJlcpXroDTDmJ.rmSpXd3dIbrHY"),)),
    "s3-version-null.json": Sample((Named("imports/before-versioning.json"),)),
    "s3-schema-2.6.json": Sample((Named("imports/newer-schema.json"),)),
    "s3-schema-3.0.json": Sample(raises=True),
    "s3-zero-bytes.json": Sample((Named("imports/nothing.json", "empty.json"),)),
    "s3-folder-marker.json": Sample(),
    "s3-not-ours.json": Sample(),
    "s3-test.json": Sample(),
    # Through a topic.
    "sns-s3.json": Sample((Named("imports/by-topic.json"),)),
    "sns-test.json": Sample(),
    # Through a queue.
    "sqs-s3.json": Sample((Named("imports/by-queue.json"),)),
    "sqs-test.json": Sample(),
    "sqs-several-messages.json": Sample((Named("imports/queued-first.json"), Named("imports/queued-second.json"))),
    "sqs-sns-s3.json": Sample((Named("imports/by-topic-and-queue.json"),)),
    "sqs-sns-test.json": Sample(),
    "sqs-sns-raw.json": Sample((Named("imports/by-topic-raw.json"),)),
    # Through EventBridge.
    "eventbridge.json": Sample((Named("imports/over the bus + 100%25.json"),)),
    "eventbridge-deleted.json": Sample(),
    "sqs-eventbridge.json": Sample((Named("imports/by-bus-and-queue.json"),)),
    # Not understood.
    "unknown.json": Sample(raises=True),
    "sqs-malformed.json": Sample(raises=True),
    "sqs-unknown-among-known.json": Sample((Named("imports/known.json"),), raises=True),
}
