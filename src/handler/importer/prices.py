"""What AWS charges: the one price table, as of `AS_OF`, for `REGION`. Imports nothing of ours.

For another region or a contract, write its prices here and deploy: receipts, metrics and `importer preview` all take
them from this file. A receipt names region and date of the table it was computed with, and has the units beside the
dollars, so that anybody can compute them anew.

List prices of the first tier, without free tiers, savings plans and taxes. How sure they are: AWS fills the numbers
into its pricing pages by script, so `said` is where each was read instead; the rules (what is rounded up to what) are
AWS's own words, at `rule`.
"""

from dataclasses import dataclass
from typing import Final

REGION: Final = "us-east-1"
AS_OF: Final = "2026-11-26"  # when they were looked up; what was read then is as old as `said` says


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars for so many units of one kind.

    Attributes:
        usd: a decimal number, as text: exact.
        page: where AWS publishes it.
        said: where and of when it was read.
        rule: how AWS counts units.
    """

    usd: str
    per: int
    unit: str
    page: str
    said: str
    rule: str


_DYNAMODB: Final = "https://aws.amazon.com/dynamodb/pricing/on-demand/"
_S3: Final = "https://aws.amazon.com/s3/pricing/"
_LAMBDA: Final = "https://aws.amazon.com/lambda/pricing/"
_READ_WRITE: Final = "docs.aws.amazon.com/amazondynamodb/latest/developerguide/read-write-operations.html"

PRICES: Final[dict[str, Price]] = {
    "write_units": Price(
        "0.625",
        1_000_000,
        "write request units of an on-demand table, Standard class",
        _DYNAMODB,
        # It was $1.25 until 1 November 2024, when AWS halved on-demand throughput; older pages still say so.
        "AWS price list as quoted by several public sources, July 2025 to May 2026",
        f"an item, rounded up to 1 KB, is a unit for each KB; so is a refused condition ({_READ_WRITE})",
    ),
    "read_units": Price(
        "0.125",
        1_000_000,
        "read request units of an on-demand table, Standard class",
        _DYNAMODB,
        "as for write_units",
        f"4 KB read consistently are a unit, half of one where not ({_READ_WRITE})",
    ),
    "stream_billed_bytes": Price(
        "0.029",
        1 << 30,
        "bytes taken in by Firehose by Direct PUT, first 500 TB of a month",
        "https://aws.amazon.com/firehose/pricing/",
        # Not confirmed: no dated price list; and whether AWS's GB is 2**30 bytes or 10**9, which would be 7 % more.
        "public cost guides without a date; not confirmed",
        "each record is rounded up to 5 KB, which is 5,120 bytes (pricing page)",
    ),
    "lambda_mb_ms": Price(
        "0.0000133334",
        1024 * 1000,
        "MB-milliseconds of an arm64 function, first 7.5 billion GB-seconds of a month",
        _LAMBDA,
        "AWS price list as quoted in September 2026",
        "rounded up to 1 ms an invocation; since August 2025 initialisation is billed as well (pricing page)",
    ),
    "lambda_requests": Price(
        "0.20",
        1_000_000,
        "invocations",
        _LAMBDA,
        "AWS price list as quoted in September 2026",
        "each start of a function",
    ),
    "s3_writes": Price(
        "0.005",
        1_000,
        "PUT, COPY, POST and LIST requests, S3 Standard",
        _S3,
        "public cost guides, 2026; not confirmed in a price list",
        "each request, pieces of a multipart upload too; DELETE is free",
    ),
    "s3_reads": Price(
        "0.0004",
        1_000,
        "GET and all other requests, S3 Standard",
        _S3,
        "public cost guides, 2026; not confirmed in a price list",
        "each request, HEAD too",
    ),
    "sqs_requests": Price(
        "0.40",
        1_000_000,
        "requests to a standard queue, first 100 billion of a month",
        "https://aws.amazon.com/sqs/pricing/",
        "AWS price list as quoted in September 2026",
        "each request, and each 64 KB of it; what Lambda asks the queue for us counts too",
    ),
}
