"""iter_lines, json, the client's own batch_write_item with a TypeSerializer."""

import json
import os
import sys
from decimal import Decimal

import boto3
from boto3.dynamodb.types import TypeSerializer
from checks import begun, is_event, refuse, told

BATCH = 25


def write(client, table, requests):
    while requests:
        requests = client.batch_write_item(RequestItems={table: requests})["UnprocessedItems"].get(table, [])


def main() -> None:
    begun()
    good = bad = 0
    body = boto3.client("s3").get_object(Bucket=os.environ["BUCKET_NAME"], Key=sys.argv[1])["Body"]
    client, table = boto3.client("dynamodb"), os.environ["PLAIN_TABLE"]
    serialize = TypeSerializer().serialize
    requests = []
    for line in body.iter_lines():
        try:
            row = json.loads(line, parse_float=Decimal, parse_constant=refuse)
        except ValueError:
            bad += 1
            continue
        if not is_event(row):
            bad += 1
            continue
        good += 1
        requests.append({"PutRequest": {"Item": {name: serialize(value) for name, value in row.items()}}})
        if len(requests) == BATCH:
            write(client, table, requests)
            requests = []
    write(client, table, requests)
    told(good, bad)


main()
