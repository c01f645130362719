"""smart_open, orjson, Table.batch_writer: the usual advice for more speed."""

import os
import sys
from decimal import Decimal

import boto3
import orjson
from checks import begun, is_event, told
from smart_open import open as open_anywhere


def main() -> None:
    begun()
    good = bad = 0
    table = boto3.resource("dynamodb").Table(os.environ["PLAIN_TABLE"])
    source = f"s3://{os.environ['BUCKET_NAME']}/{sys.argv[1]}"
    with open_anywhere(source, "rb") as lines, table.batch_writer() as writer:
        for line in lines:
            try:
                row = orjson.loads(line)
            except orjson.JSONDecodeError:
                bad += 1
                continue
            if is_event(row):
                item = {name: Decimal(str(value)) if type(value) is float else value for name, value in row.items()}
                writer.put_item(Item=item)
                good += 1
            else:
                bad += 1
    told(good, bad)


main()
