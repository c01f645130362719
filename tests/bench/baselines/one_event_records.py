"""iter_lines, json, put_record_batch with 500 records of one event each: what Firehose's pages show."""

import json
import os
import sys

import boto3
from checks import begun, is_event, refuse, told

BATCH = 500


def write(client, stream, records):
    while records:
        answer = client.put_record_batch(DeliveryStreamName=stream, Records=records)
        if not answer["FailedPutCount"]:
            return
        said = zip(records, answer["RequestResponses"], strict=True)
        records = [record for record, result in said if "ErrorCode" in result]


def main() -> None:
    begun()
    good = bad = 0
    body = boto3.client("s3").get_object(Bucket=os.environ["BUCKET_NAME"], Key=sys.argv[1])["Body"]
    client, stream = boto3.client("firehose"), os.environ["DELIVERY_STREAM"]
    records = []
    for line in body.iter_lines():
        try:
            row = json.loads(line, parse_constant=refuse)
        except ValueError:
            bad += 1
            continue
        if not is_event(row):
            bad += 1
            continue
        good += 1
        records.append({"Data": json.dumps(row).encode() + b"\n"})
        if len(records) == BATCH:
            write(client, stream, records)
            records = []
    write(client, stream, records)
    told(good, bad)


main()
