"""iter_lines, json, Table.batch_writer: what most people write first."""

import json
import os
import sys
from decimal import Decimal

import boto3
from checks import begun, is_event, refuse, told


def main() -> None:
    begun()
    good = bad = 0
    body = boto3.client("s3").get_object(Bucket=os.environ["BUCKET_NAME"], Key=sys.argv[1])["Body"]
    table = boto3.resource("dynamodb").Table(os.environ["PLAIN_TABLE"])
    with table.batch_writer() as writer:
        for line in body.iter_lines():
            try:
                row = json.loads(line, parse_float=Decimal, parse_constant=refuse)
            except ValueError:
                bad += 1
                continue
            if is_event(row):
                writer.put_item(Item=row)
                good += 1
            else:
                bad += 1
    told(good, bad)


main()
