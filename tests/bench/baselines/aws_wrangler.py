"""iter_lines, json, awswrangler's dynamodb.put_items, some thousand rows at a time."""

import json
import os
import sys
from decimal import Decimal

import awswrangler
import boto3
from checks import begun, is_event, refuse, told

ROWS = 5_000


def main() -> None:
    begun()
    good = bad = 0
    body = boto3.client("s3").get_object(Bucket=os.environ["BUCKET_NAME"], Key=sys.argv[1])["Body"]
    table = os.environ["PLAIN_TABLE"]
    items = []
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
        items.append(row)
        if len(items) == ROWS:
            awswrangler.dynamodb.put_items(items=items, table_name=table)
            items = []
    if items:
        awswrangler.dynamodb.put_items(items=items, table_name=table)
    told(good, bad)


main()
